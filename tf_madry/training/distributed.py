"""A run whose batches are split over devices (§7): which they are, and what each process does.

TensorFlow is imported only where it is asked: it has to be told of its devices before it looks.
"""

import contextlib
import functools
import multiprocessing
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
GRACE = 10.0  # seconds that it has to end by itself
REMINDER = 60.0  # seconds from one word on who is waited for to the next


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
  with reminding(cluster) if cluster else contextlib.nullcontext():
    if cluster:
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


@contextlib.contextmanager
def reminding(cluster: Cluster, every: float = REMINDER) -> Iterator[None]:
  """Says every so many seconds who does not answer yet, while the block waits for all to be there.

  From a process of its own: TensorFlow waits in a call that lets no thread of Python's run.
  """
  process = multiprocessing.get_context("fork").Process(target=_remind, daemon=True,
                                                        args=(cluster, every, os.getpid()))
  process.start()
  try:
    yield
  finally:
    process.kill()
    process.join()


def _remind(cluster, every, parent):
  for signum in (signal.SIGINT, signal.SIGTERM):
    signal.signal(signum, signal.SIG_DFL)
  told = time.monotonic()
  while os.getppid() == parent:
    time.sleep(min(1.0, every))
    if time.monotonic() > told + every:
      if missing := [cluster.name(other) for other in cluster.others if not cluster.answers(other)]:
        print(f"{cluster.name(cluster.own)} still waits for {', '.join(missing)}", flush=True)
      told = time.monotonic()


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


def _abort(why):
  """Has what waits for other processes end with an error, as does all that would wait for them."""
  import tensorflow as tf
  from tensorflow.python.eager import context  # as TensorFlow itself does where nothing coordinates
  context.context().abort_collective_ops(tf.errors.UNAVAILABLE, why)


@contextlib.contextmanager
def watching(cluster: Cluster, *, abort: Callable[[str], object] = _abort,
             grace: float = GRACE) -> Iterator[threading.Event]:
  """Ends the block if another process freezes, or goes without a word, as with its machine's power.

  TensorFlow would wait for it for good. Now the step under way ends as if that one had died; where
  none does, this process ends, and what the chief has saved is what the run goes on from. Gives the
  event that ends the watch before the block ends.

  Args:
    cluster: all processes.
    abort: called with what has happened, ends the step under way.
    grace: seconds that the block has to end then, and again the process.
  """
  def end(number):
    name = cluster.name(number)
    with contextlib.suppress(Exception):  # or the process would stay
      abort(f"{name} does not answer")
    if not over.wait(grace):
      output.fail(f"{name} does not answer any more: start all of them again, and the run goes on "
                  "from its newest checkpoint")
    time.sleep(grace)  # what is said and saved has its time; TensorFlow may wait for good at its end
    os._exit(GONE)

  over = cluster.watch(end)
  try:
    yield over
  finally:
    over.set()
