"""What is logged: how stale batches were, who crafted them, who waited for whom."""

import time

import numpy as np

from tf_madry.asynchronous import ages
from tf_madry.asynchronous.pool import Batch, Pool
from tf_madry.config import Config


class Log:
  """Counts what happens from one line of the log to the next.

  Attributes:
    thrown_away: batches that were too stale to be trained on, in all.
  """

  def __init__(self, config: Config, pool: Pool):
    self._config, self._pool = config, pool
    self._blocked_before = {}  # by worker: the seconds that it had been blocked by its last batch
    self.thrown_away = 0
    self.begin()

  def begin(self) -> None:
    """Begins to count anew."""
    self._began, self._waited_before, self._blocked = time.monotonic(), self._pool.waited, 0.0
    self._depths, self._staleness = [], []
    self._crafted = [0] * (1 + self._config.asynchronous.workers)

  def add(self, depth: int, staleness: int = 0, batch: Batch | None = None) -> None:
    """Counts a step.

    Args:
      depth: finished batches that were waiting before it.
      staleness: trainer step minus step of the weights that its batch was made with.
      batch: None: the trainer's own.
    """
    self._depths.append(depth)
    self._staleness.append(staleness)
    self._crafted[1 + batch.worker if batch else 0] += 1
    if batch:
      before = self._blocked_before.get(batch.worker, 0.0)
      # Where it is less than before, its replacement has begun to count anew.
      self._blocked += batch.blocked - (before if batch.blocked >= before else 0.0)
      self._blocked_before[batch.worker] = batch.blocked

  def values(self) -> dict[str, object]:
    """The counts of the steps since `begin`.

    Returns:
      {name: value}: `staleness_mean`, `staleness_p95`, `staleness_max` and `staleness_histogram`
      ({staleness: batches}) of every batch trained on, 0 for the trainer's own; `queue_depth`,
      finished batches waiting, on average; `trainer_waiting` and `workers_blocked`, shares of the
      time; `crafted_per_second`, examples, of the trainer and of each worker; `thrown_away`,
      batches too stale, `restarts`, workers replaced, and `torn`, batches that were not
      whole: since the start.
    """
    seconds, staleness = max(time.monotonic() - self._began, 1e-9), np.array(self._staleness)
    batch_size, workers = self._config.training.batch_size, self._config.asynchronous.workers
    return {
        "staleness_mean": round(float(staleness.mean()), 2),
        "staleness_p95": float(np.percentile(staleness, 95)),
        "staleness_max": int(staleness.max()),
        "staleness_histogram": ages.histogram(staleness),
        "queue_depth": round(float(np.mean(self._depths)), 2),
        "trainer_waiting": round((self._pool.waited - self._waited_before) / seconds, 4),
        "workers_blocked": round(min(1.0, self._blocked / seconds / workers), 4),
        "crafted_per_second": [round(count * batch_size / seconds, 1) for count in self._crafted],
        "thrown_away": self.thrown_away, "restarts": self._pool.restarts, "torn": self._pool.torn}
