"""Processes that train together: the chief, which is a run like any other, and those that follow it.

All do the same steps on parts of the same batches (`replicas.py`). What the run is and how far it
has come they have from the chief, so that only that one needs the model directory, and a process
that is new goes on where the others are.
"""

import contextlib
import io
import json
import math
import threading
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from tf_madry import datasets
from tf_madry.checkpoints import Checkpoint
from tf_madry.config import Config
from tf_madry.datasets import Batches
from tf_madry.errors import UserError, require
from tf_madry.runtime.cluster import Cluster
from tf_madry.runtime.signals import stop_requests
from tf_madry.training import saving
from tf_madry.training.learner import Learner
from tf_madry.training.replicas import LOST, ReplicatedStep
from tf_madry.training.stepper import StepperError, StepResult
from tf_madry.training.synchronous import Synchronous

ABOUT = "about.json"  # among the arrays that the chief sends: all that are none


class Together(Synchronous):
  """The `Stepper` of one of several processes.

  Args:
    learner, batches: of the run.
    strategy: over the devices of all processes.
    cluster: which they are.
    over: set once no step is left: from then on each may go.
  """

  def __init__(self, learner: Learner, batches: Batches, *, strategy: tf.distribute.Strategy,
               cluster: Cluster, over: threading.Event):
    super().__init__(learner, batches, lambda learner: ReplicatedStep(learner, strategy))
    self._learner, self._strategy, self._cluster, self._over = learner, strategy, cluster, over
    self._told = not cluster.is_chief

  def __call__(self, step: int) -> StepResult:
    """Does training step `step` (from 0)."""
    self._tell(step)
    with noticing(self._cluster):
      result = super().__call__(step)
      float(result.loss)  # whoever is gone by now may go
    self._done(step + 1)
    return result

  def restore(self, checkpoint: Checkpoint) -> None:
    """Goes on from a checkpoint."""
    super().restore(checkpoint)
    self._tell(checkpoint.step)
    self._done(checkpoint.step)

  def _tell(self, step):
    """Once, the chief tells the others the run as it is."""
    if not self._told:
      run = saving.snapshot(self._learner, self, step)
      with noticing(self._cluster):
        broadcast(self._strategy, pack(run, self._learner.dataset.digest))
      self._told = True

  def _done(self, steps):
    if steps >= self._learner.config.training.steps:
      self._over.set()


def follow(config: Config, make_stepper: Callable[[Learner, Batches], Together],
           strategy: tf.distribute.Strategy, cluster: Cluster) -> int:
  """Does the chief's steps with it, to the last or to a signal; returns the exit code.

  Args:
    config: as this process was given it.
    make_stepper: called with the learner and the batches.
    strategy: over the devices of all processes.
    cluster: which they are.

  Raises:
    UserError: it was given another experiment than the chief, or has other data or versions;
      another process has gone; the loss is not finite.
  """
  with stop_requests() as stop:
    try:
      _follow(config, make_stepper, strategy, cluster, stop)
    except StepperError:
      if not stop.signum:  # else the others were asked to stop as well
        raise
  if stop.signum:
    print("stopped: the chief ends the run and saves it", flush=True)
    return 128 + stop.signum
  return 0


def _follow(config, make_stepper, strategy, cluster, stop):
  dataset = datasets.load(config.training.dataset)
  with noticing(cluster):
    checkpoint, theirs = unpack(broadcast(strategy))
  ours = {"data": dataset.digest, **saving.versions(),
          **saving.settled(config, checkpoint).experiment()}
  for name, value in ours.items():
    require(name not in theirs or theirs[name] == value, name, value,
            f"{theirs.get(name)!r}, as the chief has it")
  config = Config.from_values(checkpoint.values)
  learner = Learner(config, dataset)
  batches = Batches(learner.num_examples, config.training.drawn, config.training.seed)
  with contextlib.closing(make_stepper(learner, batches)) as stepper:
    saving.restore(learner, stepper, checkpoint)
    for step in range(checkpoint.step, config.training.steps):
      loss = float(stepper(step).loss)
      if stop.signum:
        return
      require(math.isfinite(loss), "loss", loss, f"a number (at step {step + 1:,})")


@contextlib.contextmanager
def noticing(cluster: Cluster) -> Iterator[None]:
  """Raises `StepperError` in place of what TensorFlow says when another process has gone."""
  try:
    yield
  except LOST as error:
    gone = [cluster.name(number) for number in cluster.others if not cluster.answers(number)]
    raise StepperError(f"{', '.join(gone) or 'another process'} has gone: start all of them again, "
                       "and the run goes on") from error


def pack(checkpoint: Checkpoint, data: str) -> bytes:
  """A run as it is, for the others: its state, config and versions, and the digest of its data."""
  experiment = Config.from_values(checkpoint.values).experiment()
  about = {"step": checkpoint.step, "values": checkpoint.values,
           "theirs": {"data": data, **saving.versions(), **experiment}}
  file = io.BytesIO()
  np.savez(file, **checkpoint.arrays, **{ABOUT: np.array(json.dumps(about))})
  return file.getvalue()


def unpack(packed: bytes) -> tuple[Checkpoint, dict]:
  """What `pack` packed: the state, and {name: value} of what all processes have to share."""
  with np.load(io.BytesIO(packed), allow_pickle=False) as archive:
    arrays = {name: archive[name] for name in archive.files}
  about = json.loads(str(arrays.pop(ABOUT)))
  return Checkpoint(about["step"], about["values"], arrays, "the chief"), about["theirs"]


def broadcast(strategy: tf.distribute.Strategy, message: bytes = b"") -> bytes:
  """The chief's message, in every process; all have to call it.

  As float32, two bytes a number, which any device and any engine can sum exactly.

  Raises:
    UserError: the processes have not as many devices each.
  """
  @tf.function
  def from_first(values):
    def on_replica(values):
      replica = tf.distribute.get_replica_context()
      first = tf.get_static_value(replica.replica_id_in_sync_group) == 0
      values = tf.identity(values) if first else tf.zeros_like(values)
      return replica.all_reduce(tf.distribute.ReduceOp.SUM, values)
    return strategy.experimental_local_results(strategy.run(on_replica, (values,)))[0]

  numbers = np.frombuffer(message + b"\0" * (len(message) % 2), np.uint16).astype(np.float32)
  try:
    high, low = from_first(tf.constant(divmod(len(message), 2**16), tf.float32)).numpy()
  except tf.errors.InternalError as error:
    raise UserError(f"the processes do not fit together ({error.message.splitlines()[0]}): each has "
                    "to have as many GPUs as the others, or none") from error
  length = int(high) * 2**16 + int(low)
  numbers = numbers if message else np.zeros((length + 1) // 2, np.float32)
  return from_first(tf.constant(numbers)).numpy().astype(np.uint16).tobytes()[:length]
