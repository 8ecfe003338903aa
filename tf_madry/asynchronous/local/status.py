"""What the trainer can see of each worker at any time: a table in shared memory."""

import numpy as np

from tf_madry.asynchronous.local.memory import Segment


class Status:
  """A table with one row a worker. Workers write it, the trainer reads it.

  Args:
    workers: how many there are.
    directory: as in `memory.Segment`.

  Attributes:
    rows: `beats`, a count that goes on for as long as the worker is able to work, once it has begun
      to; `ticket`, the batch that it began last, and `weights_step`, the trainer step of the
      weights it began it with.
  """

  _ROW = np.dtype([("beats", np.int64), ("ticket", np.int64), ("weights_step", np.int64)])

  def __init__(self, workers: int, directory: str | None = None):
    size = workers * self._ROW.itemsize
    self._segment = Segment(size, f"the state of {workers} workers", directory)
    self._map()

  def _map(self):
    self.rows = np.frombuffer(self._segment.buffer, self._ROW)

  def __getstate__(self):
    return self._segment

  def __setstate__(self, segment):
    self._segment = segment
    self._map()

  def begin(self, worker: int) -> None:
    """Clears the row of a worker that is about to start."""
    self.rows[worker] = 0, -1, 0

  def close(self) -> None:
    """Gives up this process's share of the memory."""
    self.rows = None
    self._segment.close()
