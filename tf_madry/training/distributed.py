"""A run whose batches are split over devices (§7): which they are, and what each process does.

TensorFlow is imported only where it is asked: it has to be told of its devices before it looks.
"""

import contextlib
import functools
import os
import signal
import threading
import time
import typing
from collections.abc import Callable, Iterator

from tf_madry.config import Config
from tf_madry.errors import UserError, require
from tf_madry.runtime import cluster as clusters
from tf_madry.runtime import output
from tf_madry.runtime.cluster import Cluster
from tf_madry.settings import DistributionConfig

if typing.TYPE_CHECKING:
  import tensorflow as tf

GONE = 2  # exit code of a process that lost another one, as of any error


def run(config: Config, load_tensorflow: Callable, *, resume: bool = True) -> int:
  """Trains as `config` says; returns the exit code.

  Args:
    config: a run with a strategy.
    load_tensorflow: `cli.load_tensorflow`.
    resume: False: refuse a directory that already holds a run.

  Raises:
    UserError: as `loop.train`; there is no cluster, or no device, for the strategy; another process
      of the cluster has gone.
  """
  settings, cluster = config.distribution, None
  if settings.strategy == "multiworker":
    cluster = clusters.from_environment()
    # What it has to say of a connection that is lost comes as an error, too.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    _meet(cluster)
  strategy = load_tensorflow(choose_devices=functools.partial(_strategy, settings, cluster))
  number, size = strategy.num_replicas_in_sync, config.training.batch_size
  require(size >= number, "batch_size", size, f"at least {number}, an example for each device")
  print(f"each batch is split over {number} device{'s' if number > 1 else ''}", flush=True)
  from tf_madry.training import loop, multiworker, replicas
  with contextlib.ExitStack() as stack:
    if cluster:
      over = stack.enter_context(watching(cluster))
      make_stepper = functools.partial(multiworker.Together, strategy=strategy, cluster=cluster,
                                       over=over)
      if not cluster.is_chief:
        return multiworker.follow(config, make_stepper, strategy, cluster)
    else:
      make_stepper = functools.partial(replicas.stepper, strategy=strategy)
    try:
      loop.train(config, resume=resume, make_stepper=make_stepper)
    except loop.Stopped as stopped:
      return stopped.exit_code
  return 0


def _strategy(settings, cluster):
  import tensorflow as tf
  tf.get_logger().setLevel("ERROR")  # it tells of every sum that it compiles
  return _join(cluster) if cluster else _mirror(settings)


def _mirror(settings: DistributionConfig) -> "tf.distribute.Strategy":
  """The strategy over all GPUs of this machine, or parts of its CPU."""
  import tensorflow as tf
  if settings.cpu_devices:
    cpu, *_ = tf.config.list_physical_devices("CPU")
    parts = [tf.config.LogicalDeviceConfiguration()] * settings.cpu_devices
    tf.config.set_logical_device_configuration(cpu, parts)
    names = [f"CPU:{number}" for number in range(settings.cpu_devices)]
  else:
    names = [f"GPU:{number}" for number, _ in enumerate(tf.config.list_physical_devices("GPU"))]
    require(names, "strategy", settings.strategy,
            "none where there is no GPU; --cpu_devices 2 tries it on the CPU")
  return tf.distribute.MirroredStrategy(names)


def _meet(cluster: Cluster) -> None:
  """Says who is waited for; what is not the chief waits until that one is there.

  From then on TensorFlow brings all together.
  """
  others = map(cluster.name, cluster.others if cluster.is_chief else [0])
  print(f"{cluster.name(cluster.own)} waits for {', '.join(others) or 'nobody'}", flush=True)
  while not (cluster.is_chief or cluster.answers(0)):
    time.sleep(1)


def _join(cluster: Cluster) -> "tf.distribute.Strategy":
  """The strategy over all devices of all processes; waits until they are all there."""
  import tensorflow as tf
  options, engines = tf.distribute.experimental, tf.distribute.experimental.CommunicationImplementation
  on_gpus = tf.config.list_physical_devices("GPU")
  communication = options.CommunicationOptions(
      implementation=engines.AUTO if on_gpus else engines.RING)
  # TensorFlow waits in a call that no handler of Python's interrupts.
  handlers = {signum: signal.signal(signum, signal.SIG_DFL)
              for signum in (signal.SIGINT, signal.SIGTERM)}
  try:
    return tf.distribute.MultiWorkerMirroredStrategy(communication_options=communication)
  except (tf.errors.OpError, RuntimeError) as error:
    said = str(error).splitlines()[0]
    raise UserError(f"{cluster.name(cluster.own)} cannot join the others: {said}") from error
  finally:
    for signum, handler in handlers.items():
      signal.signal(signum, handler)


@contextlib.contextmanager
def watching(cluster: Cluster) -> Iterator[threading.Event]:
  """Ends this process if another one goes without a word, as with the power of its machine.

  TensorFlow would wait for it for good. What the chief has saved is what the run goes on from.
  Gives the event that ends the watch before the block ends.
  """
  def end(number):
    output.fail(f"{cluster.name(number)} does not answer any more: start all of them again, and the "
                "run goes on from its newest checkpoint")
    os._exit(GONE)

  over = cluster.watch(end)
  try:
    yield over
  finally:
    over.set()
