"""Weights in shared memory (§5).

No disk has to be waited for: publishing is a copy, cheap enough to be done after every step where a
bound on staleness asks for it, and nothing outlives the run. Two snapshots take turns, so that the
newest whole one can be read at any time, however slowly.
"""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from tf_madry.asynchronous.local.memory import Segment

# "begun" and "ended" are both the number of the snapshot, written before and after everything else.
_HEADER = np.dtype([
    ("begun", np.int64), ("step", np.int64), ("checksum", np.uint64), ("ended", np.int64)])
_ALIGNMENT = 64  # bytes: a cache line


class SharedWeights:
  """`weights.Weights` that a trainer shares with the processes it starts.

  The trainer creates it and passes it to each worker among the arguments of `Process`.

  Args:
    shapes: shape of each of the model's weights, all float32.
    directory: as in `memory.Segment`.

  Attributes:
    step: the trainer step of the snapshot that this process published or fetched last; None before
      the first.

  Raises:
    UserError: there is not enough shared memory for them.
  """

  def __init__(self, shapes: Sequence[tuple[int, ...]], directory: str | None = None):
    self._shapes = [tuple(shape) for shape in shapes]
    self._parameters = sum(int(np.prod(shape)) for shape in self._shapes)
    size = 2 * self._size()
    self._segment = Segment(size, f"two snapshots of {self._parameters:,} weights", directory)
    self._reset()

  def _size(self):
    """Bytes of a snapshot: a header, then the weights, rounded up to the alignment."""
    return _ALIGNMENT * (1 + -(-4 * self._parameters // _ALIGNMENT))

  def _reset(self):
    self.step = None
    self._number = 0  # of the snapshot published or fetched last, damaged ones included
    self._headers, self._contents = [], []
    for start in (0, self._size()):
      words = (self._size() - _ALIGNMENT) // 8
      self._headers.append(np.ndarray((), _HEADER, self._segment.buffer, start))
      self._contents.append(np.ndarray(words, np.uint64, self._segment.buffer, start + _ALIGNMENT))

  def __getstate__(self):
    return self._shapes, self._parameters, self._segment

  def __setstate__(self, state):
    self._shapes, self._parameters, self._segment = state
    self._reset()

  def publish(self, step: int, arrays: Sequence[Any]) -> None:
    """Writes the next snapshot.

    Args:
      step: how many training steps the weights have behind them.
      arrays: the weights, in the order of `shapes`; anything NumPy can read.
    """
    self._number += 1
    header, words = self._headers[self._number % 2], self._contents[self._number % 2]
    header["begun"] = self._number
    for target, array in zip(self._arrays(words), arrays, strict=True):
      target[...] = array
    header["step"], header["checksum"] = step, _checksum(words, step)
    header["ended"] = self._number
    self.step = step

  def fetch(self) -> list[np.ndarray] | None:
    """Returns copies of the weights, or None if there is no newer whole snapshot.

    A damaged snapshot is reported on standard error, once, and passed over.
    """
    while True:
      half = int(self._headers[0]["ended"] < self._headers[1]["ended"])
      header, words = self._headers[half], self._contents[half]
      number = int(header["ended"])
      if number <= self._number:
        return None
      step, checksum, words = int(header["step"]), int(header["checksum"]), words.copy()
      # Else the trainer has come round to this half: the other one is whole and newer.
      if header["begun"] == number:
        break
    self._number = number
    if _checksum(words, step) != checksum:
      kept = ("nothing to go on with yet" if self.step is None
              else f"going on with those of step {self.step:,}")
      print(f"warning: snapshot {number} of the weights is damaged: {kept}",
            file=sys.stderr, flush=True)
      return None
    self.step = step
    return self._arrays(words)

  def _arrays(self, words):
    """Views of the weights in a snapshot."""
    flat, arrays, start = words.view(np.float32), [], 0
    for shape in self._shapes:
      stop = start + int(np.prod(shape))
      arrays.append(flat[start:stop].reshape(shape))
      start = stop
    return arrays

  def close(self) -> None:
    """Gives up this process's share of the memory."""
    self._headers, self._contents = [], []
    self._segment.close()


def _checksum(words, step):
  # A sum is a seventh of the time of a CRC, and no less certain to notice a word that changed.
  return words.sum(dtype=np.uint64) + np.uint64(step)
