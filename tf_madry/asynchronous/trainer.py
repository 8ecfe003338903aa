"""The trainer's steps: on batches of the workers, or while there are none on its own (§5)."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tf_madry.asynchronous.log import Log
from tf_madry.asynchronous.pool import Batch, Pool
from tf_madry.checkpoints import Checkpoint
from tf_madry.datasets import Batches
from tf_madry.settings import AsyncConfig
from tf_madry.training.learner import Learner
from tf_madry.training.step import AdversarialStep
from tf_madry.training.stepper import StepResult
from tf_madry.training.tickets import Tickets

_PATIENCE = 0.2  # seconds to wait for a batch before looking at workers and signals again


def pace(settings: AsyncConfig) -> tuple[int, int | None]:
  """How often to publish weights, and how many batches may be on their way, for a bound to hold.

  A batch is begun with weights that are up to `every` - 1 steps old, `in_flight` - 1 others are
  trained on before its turn comes, and some that were begun later overtake it where a worker is
  slower than another. The first gets a quarter of the bound, since publishing costs time, the last
  another quarter, and what is on its way the rest.

  Returns:
    (every, in_flight): steps; number of batches, or None for as many as the pool has room for.
  """
  bound = settings.max_staleness
  if bound is None:
    return settings.reload_every, None
  every = max(1, min(settings.reload_every, bound // 4))
  return every, bound - bound // 4 + 2 - every


class Asynchronous:
  """The `Stepper` of a trainer that has workers craft for it.

  Every step consumes one ticket, so that a run sees the batches of synchronous training, in nearly
  the same order. A batch depends on its ticket and on the weights alone, not on who crafts it.

  Args:
    learner: what is trained.
    batches: the data stream.
    make_pool: called with the config, the shape of an image and those of the weights.

  Raises:
    UserError: what `make_pool` raises.
  """

  def __init__(self, learner: Learner, batches: Batches, *, make_pool: Callable[..., Pool]):
    self._learner, self._step, self._batches = learner, AdversarialStep(learner), batches
    self._settings = learner.config.asynchronous
    self._every, self._in_flight = pace(self._settings)
    self._tickets = Tickets()
    shapes = {weight.path: tuple(weight.shape) for weight in learner.trained.weights}
    self._pool = make_pool(learner.config, learner.image_shape, shapes)
    self._log: Log | None = None  # until the weights are those to begin with

  def __call__(self, step: int) -> StepResult | None:
    """Does training step `step` (from 0); None if no batch came within a short wait: call again."""
    if not self._log:
      self._start(step)
    self._pool.look_after()
    depth = self._pool.ready()
    assist = self._settings.trainer_assist and self._time_for_own(step)
    if batch := self._take(step, 0 if assist else _PATIENCE):
      with batch:
        # TensorFlow may go on reading an array that it was given, and its memory is soon somebody
        # else's.
        images, labels = tf.constant(batch.images.copy()), tf.constant(batch.labels.copy())
        result = self._step.learn(images, labels, tf.constant(step))
        # Before the ticket is settled, which may let a worker begin the next batch.
        self._publish(step + 1)
      self._log.add(depth, step - batch.weights_step, batch)
      return result
    if not assist:
      return None
    result = self._own(step)
    self._log.add(depth)
    return result

  def _start(self, step):
    self._publish(step, now=True)
    self._pool.start(self._tickets, self._in_flight)
    self._log = Log(self._learner.config, self._pool)
    workers, bound = self._settings.workers, self._settings.max_staleness
    assists = ", and the trainer while the queue is empty" if self._settings.trainer_assist else ""
    handed = "shared" if self._settings.in_memory else "saved"
    bounded = "no bound on staleness" if bound is None else f"staleness of at most {bound}"
    tqdm.write(f"{workers} worker{'s' if workers > 1 else ''} crafting{assists}; queue of "
               f"{self._settings.queue_size} batches, weights {handed} every {self._every} steps, "
               f"{bounded}")

  def _publish(self, step, now=False):
    if now or step % self._every == 0:
      self._pool.publish(step, self._learner.trained.weights)

  def _take(self, step, timeout) -> Batch | None:
    bound = self._settings.max_staleness
    while batch := self._pool.take(timeout):
      if bound is None or step - batch.weights_step <= bound:
        return batch
      # Its ticket is drawn again: to be crafted with better weights this time.
      self._publish(step, now=True)
      batch.reject()
      self._log.thrown_away += 1
    return None

  def _time_for_own(self, step):
    """Whether a batch of the trainer's own makes none that a worker is at too stale."""
    bound = self._settings.max_staleness
    if bound is None:
      return True
    # The nth of them will be trained on in n steps at the earliest; those that are too late even so
    # do not count.
    return all(step + n - weights_step != bound
               for n, weights_step in enumerate(sorted(self._pool.crafting())))

  def _own(self, step):
    ticket = self._tickets.draw()
    # As of a batch from a worker: the random start goes with the ticket, schedule and averaging
    # with the step.
    indices = tf.constant(self._batches.indices(ticket))
    images, labels = self._step.craft(indices, tf.constant(ticket))
    result = self._step.learn(images, labels, tf.constant(step))
    self._tickets.consume(ticket)
    self._publish(step + 1)
    return result

  @property
  def pending(self) -> str:
    """As of `Stepper`: workers that compile have nothing to show, and take cores from the others."""
    starting, workers = self._pool.starting(), self._settings.workers
    if not starting:
      return ""
    return f"{starting} of {workers} worker{'s' if workers > 1 else ''} still starting"

  def arrays(self) -> dict[str, np.ndarray]:
    """Which batches have been trained on, for the checkpoint."""
    return self._tickets.arrays()

  def restore(self, checkpoint: Checkpoint) -> None:
    """Goes on from a checkpoint, be it of a synchronous run, whose batches come in order."""
    self._tickets = Tickets.after(checkpoint.step, checkpoint.arrays)

  def report(self) -> dict[str, object]:
    """What is logged of the steps since the last line of metrics.jsonl; see `Log.values`."""
    return self._log.values()

  def begin_line(self) -> None:
    """Begins to count anew."""
    self._log.begin()

  def close(self) -> None:
    """Ends the workers and frees what is shared with them."""
    self._pool.close()
