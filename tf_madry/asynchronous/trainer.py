"""The trainer's steps: from the batches of the workers, and while there are none, from one of its own (§5)."""

import time

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tf_madry.asynchronous.local import launch
from tf_madry.asynchronous.local.dealer import Dealer, Tickets
from tf_madry.asynchronous.local.slots import Ring
from tf_madry.asynchronous.local.weights import Weights
from tf_madry.asynchronous.local.worker import Board

_PATIENCE = 0.2  # seconds to wait for a batch before looking at workers and signals again


def pace(settings):
  """How often to publish weights, and how many batches may be on their way, for a bound on staleness to hold.

  A batch is begun with weights that are up to `every` - 1 steps old, `in_flight` - 1 others are trained on before its
  turn comes, and some that were begun later overtake it where a worker is slower than another. The first gets a quarter
  of the bound, since publishing costs time, the last another quarter, and what is on its way the rest.

  Args:
    settings: `config.AsyncConfig`.

  Returns:
    (every, in_flight): steps; number of batches, or None for as many as the ring and the workers hold.
  """
  bound = settings.max_staleness
  if bound is None:
    return settings.reload_every, None
  every = max(1, min(settings.reload_every, bound // 4))
  return every, bound - bound // 4 + 2 - every


class Asynchronous:
  """The source of steps (see `training.Synchronous`) that has workers craft.

  Every step consumes one ticket, so that a run sees the batches of synchronous training, in nearly the same order. A
  batch depends on its ticket and on the weights alone, not on who crafts it.

  Args:
    learner: `learner.Learner`.
    batches: `datasets.Batches`.
    places: `devices.Place` of each worker.

  Raises:
    UserError: there is too little shared memory.
  """

  def __init__(self, learner, batches, *, places):
    self._learner, self._batches, self._places = learner, batches, places
    self._settings = learner.config.asynchronous
    self._every, self._in_flight = pace(self._settings)
    self._tickets = Tickets()
    self._dealer = self._crew = None  # until the weights are those to begin with
    self._ring = Ring(self._settings.queue_size, learner.config.training.batch_size, learner.image_shape)
    self._weights = Weights([variable.shape for variable in learner.trained.weights])
    self._board = Board(len(places))

  def __call__(self, step):
    """Does training step `step` (from 0); None if no batch has come after a short wait: call again."""
    if not self._dealer:
      self._start(step)
    self._done = step + 1
    self._crew.look_after()
    depth = self._dealer.ready()
    assist = self._settings.trainer_assist and self._time_for_own(step)
    if batch := self._take(step, 0 if assist else _PATIENCE):
      with batch:
        # TensorFlow may go on reading an array that it was given, and the slot is soon somebody else's.
        images, labels = tf.constant(batch.images.copy()), tf.constant(batch.labels.copy())
        result = self._learner.learn(images, labels, tf.constant(step))
        self._publish(step + 1)  # before the ticket is settled, which may let a worker begin the next batch
      self._log.add(depth, step - batch.weights_step, batch)
      return result
    if not assist:
      return None
    result = self._own(step)
    self._log.add(depth)
    return result

  def _start(self, step):
    self._publish(step, now=True)
    self._dealer = Dealer(self._ring, self._tickets, self._in_flight)
    shared = self._learner.config, self._ring, self._weights
    self._crew = launch.Crew(self._places, self._board, self._dealer, shared)
    self._log = _Log(self._learner.config, self._dealer)
    settings = self._settings
    bound = "no bound on staleness" if settings.max_staleness is None else f"staleness of at most {settings.max_staleness}"
    tqdm.write(f"{settings.workers} worker{'s' if settings.workers > 1 else ''} crafting"
               f"{', and the trainer while the queue is empty' if settings.trainer_assist else ''}; queue of "
               f"{settings.queue_size} batches, weights published every {self._every} steps, {bound}")

  def _publish(self, step, now=False):
    if now or step % self._every == 0:
      self._weights.publish(step, self._learner.trained.weights)

  def _take(self, step, timeout):
    bound = self._settings.max_staleness
    while batch := self._dealer.take(timeout):
      if bound is None or step - batch.weights_step <= bound:
        return batch
      self._publish(step, now=True)  # its ticket is dealt again: to be crafted with better weights this time
      batch.reject()
      self._log.thrown_away += 1
    return None

  def _time_for_own(self, step):
    """Whether the trainer can train on a batch of its own without making one that a worker is at too stale."""
    if self._settings.max_staleness is None:
      return True
    weights_steps = []
    for worker, ticket in self._dealer.in_work().items():
      row = self._board.rows[worker]
      if self._crew.responds(worker):
        # Who has not begun yet will begin with the newest weights.
        weights_steps.append(int(row["weights_step"]) if row["ticket"] == ticket else self._weights.step)
    # The nth of them will be trained on in n steps at the earliest; those that are too late even so do not count.
    return all(step + n - weights_step != self._settings.max_staleness
               for n, weights_step in enumerate(sorted(weights_steps)))

  def _own(self, step):
    ticket = self._tickets.draw()
    # As of a batch from a worker: the random start goes with the ticket, schedule and averaging with the step.
    images, labels = self._learner.craft(tf.constant(self._batches.indices(ticket)), tf.constant(ticket))
    result = self._learner.learn(images, labels, tf.constant(step))
    self._tickets.consume(ticket)
    self._publish(step + 1)
    return result

  def arrays(self):
    """Which batches have been trained on, for the checkpoint."""
    return {f"tickets/{name}": np.array(value, np.int64) for name, value in self._tickets.state().items()}

  def restore(self, checkpoint):
    """Goes on from a `checkpoints.Checkpoint`, be it of a synchronous run, which takes the batches in their order."""
    arrays, step = checkpoint.arrays, checkpoint.step
    self._tickets = Tickets(arrays.get("tickets/next_ticket", step), arrays.get("tickets/returned", ()))

  def report(self):
    """What is logged of the steps since the last line of metrics.jsonl; see `_Log.values`."""
    values = self._log.values() | {"restarts": self._crew.restarts, "torn": self._dealer.torn}
    if self._done % self._learner.config.run.log_every == 0:
      self._log.begin()
    return values

  def close(self):
    """Ends the workers and frees what is shared with them."""
    if self._dealer:
      self._dealer.close()
      self._crew.close()
    for shared in self._ring, self._weights, self._board:
      shared.close()


class _Log:
  """Counts what happens.

  Attributes:
    thrown_away: batches that were too stale to be trained on, in all.
  """

  def __init__(self, config, dealer):
    self._config, self._dealer = config, dealer
    self._last = {}  # by worker: the seconds that it had been blocked by its last batch
    self.thrown_away = 0
    self.begin()

  def begin(self):
    """Begins to count steps anew."""
    self._began, self._waited_before, self._blocked = time.monotonic(), self._dealer.waited, 0.0
    self._depths, self._staleness = [], []
    self._crafted = [0] * (1 + self._config.asynchronous.workers)

  def add(self, depth, staleness=0, batch=None):
    """Counts a step: finished batches that were waiting before it, and its `Batch`, None for one of the trainer's own."""
    self._depths.append(depth)
    self._staleness.append(staleness)
    self._crafted[1 + batch.worker if batch else 0] += 1
    if batch:
      before = self._last.get(batch.worker, 0.0)
      # Where it is less than before, its replacement has begun to count anew.
      self._blocked += batch.blocked - (before if batch.blocked >= before else 0.0)
      self._last[batch.worker] = batch.blocked

  def values(self):
    """The counts of the steps since `begin`.

    Returns:
      {name: value}: `staleness_mean`, `staleness_p95`, `staleness_max` and `staleness_histogram` ({staleness: batches}),
      trainer step minus step of the weights of every batch trained on, 0 for the trainer's own; `queue_depth`, finished
      batches waiting, on average; `trainer_waiting` and `workers_blocked`, shares of the time; `crafted_per_second`,
      examples, of the trainer and of each worker; `thrown_away`, batches too stale since the start.
    """
    seconds, staleness = max(time.monotonic() - self._began, 1e-9), np.array(self._staleness)
    steps, counts = np.unique(staleness, return_counts=True)
    return {
        "staleness_mean": round(float(staleness.mean()), 2), "staleness_p95": float(np.percentile(staleness, 95)),
        "staleness_max": int(staleness.max()),
        "staleness_histogram": dict(zip(map(str, steps), counts.tolist(), strict=True)),
        "queue_depth": round(float(np.mean(self._depths)), 2),
        "trainer_waiting": round((self._dealer.waited - self._waited_before) / seconds, 4),
        "workers_blocked": round(min(1.0, self._blocked / seconds / self._config.asynchronous.workers), 4),
        "crafted_per_second": [round(count * self._config.training.batch_size / seconds, 1) for count in self._crafted],
        "thrown_away": self.thrown_away}
