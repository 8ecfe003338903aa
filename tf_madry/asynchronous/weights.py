"""How workers learn what the trainer has learnt: weights that it publishes now and then (§5).

The paper's trainer re-saves its parameters every 100 steps and its workers reload them, and so does
`SavedWeights`. Workers of the same machine can also share memory with their trainer, see
`local/weights.py`: quicker, and gone when the run ends.
"""

import os
import re
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

from tf_madry import checkpoints
from tf_madry.errors import UserError
from tf_madry.runtime import files

FOLDER = "weights"  # in the model directory
KEPT = 3  # newest files: a worker may be reading one while two others are written
_NAME = re.compile(r"step-(\d{8}|[1-9]\d{8,})\.npz")


class Weights(Protocol):
  """The weights of a model, published by the trainer and fetched by the workers.

  Attributes:
    step: the trainer step of those that this process published or fetched last; None before that.
  """

  step: int | None

  def publish(self, step: int, arrays: Sequence[Any]) -> None:
    """Shows the weights after so many training steps to the workers.

    Args:
      step: how many steps they have behind them.
      arrays: in the order of the model's weights; anything NumPy can read.
    """

  def fetch(self) -> list[np.ndarray] | None:
    """The newest weights; None if there are no newer whole ones than at the last call.

    Damaged ones are reported on standard error, once, and passed over.
    """

  def close(self) -> None:
    """Lets go of what this process shares."""


class SavedWeights:
  """`Weights` that are files of the model directory, each written whole or not at all.

  The first are there when `publish` returns. Later ones are written by a thread, which training
  does not wait for; where the disk is slower than the trainer, it writes the newest and leaves out
  others. A disk that is full for a while costs freshness: what could not be written is said, and
  the workers go on with what they have.

  Args:
    model_dir: of the run.
    shapes: of the model's weights, by name; all float32.
  """

  def __init__(self, model_dir: str, shapes: Mapping[str, tuple[int, ...]]):
    self._folder = os.path.join(model_dir, FOLDER)
    self._shapes = dict(shapes)
    self._reset()

  def _reset(self):
    self.step: int | None = None
    self._passed_over: set[tuple] = set()
    self._lock, self._waiting = threading.Lock(), None  # what is to be written next
    self._writer: ThreadPoolExecutor | None = None
    self._last: Future | None = None

  def __getstate__(self):
    return self._folder, self._shapes

  def __setstate__(self, state):
    self._folder, self._shapes = state
    self._reset()

  def publish(self, step: int, arrays: Sequence[Any]) -> None:
    """As `Weights` says.

    Raises:
      UserError: the first ones cannot be written.
    """
    copies = {name: np.empty(shape, np.float32) for name, shape in self._shapes.items()}
    for target, array in zip(copies.values(), arrays, strict=True):
      target[...] = array
    if not self._writer:
      self._begin(step, copies)
    else:
      if self._last and self._last.done():
        self._last.result()  # raises here what the thread raised
      with self._lock:
        self._waiting = step, copies
      self._last = self._writer.submit(self._write_waiting)
    self.step = step

  def _begin(self, step, arrays):
    """Writes the first weights in place of an earlier run's, which may have been further."""
    try:
      os.makedirs(self._folder, exist_ok=True)
      files.remove_temporary(self._folder)
      for path in self._paths():
        os.remove(path)
      self._write(step, arrays)
    except OSError as error:
      raise UserError(
          f"weights cannot be written to {self._folder!r}: {error.strerror or error}") from error
    self._writer = ThreadPoolExecutor(1, "weights")

  def _write_waiting(self):
    with self._lock:
      waiting, self._waiting = self._waiting, None
    if not waiting:
      return
    try:
      self._write(*waiting)
    except OSError as error:
      print(f"warning: the weights of step {waiting[0]:,} cannot be written to {self._folder!r} "
            f"({error.strerror or error}): workers go on with older ones",
            file=sys.stderr, flush=True)

  def _write(self, step, arrays):
    with files.replacing(os.path.join(self._folder, f"step-{step:08d}.npz")) as file:
      np.savez(file, step=np.int64(step), **arrays)
    for path in self._paths()[KEPT:]:
      os.remove(path)

  def _paths(self):
    """Those of the files, the newest first."""
    names = os.listdir(self._folder) if os.path.isdir(self._folder) else []
    steps = {int(match[1]): name for name in names if (match := _NAME.fullmatch(name))}
    return [os.path.join(self._folder, steps[step]) for step in sorted(steps, reverse=True)]

  def fetch(self) -> list[np.ndarray] | None:
    """As `Weights` says."""
    for path in self._paths():
      step = int(_NAME.fullmatch(os.path.basename(path))[1])
      if self.step is not None and step <= self.step:
        return None
      try:
        seen = os.stat(path)
        version = path, seen.st_mtime_ns, seen.st_size
        if version not in self._passed_over:
          arrays = self._read(path, step)
          self.step = step
          return arrays
      except (FileNotFoundError, UserError):  # it has made room for newer ones
        continue
      except checkpoints.DamagedError as error:
        self._passed_over.add(version)
        print(f"warning: weights {path!r} are damaged ({error}) and passed over",
              file=sys.stderr, flush=True)
    return None

  def _read(self, path, step):
    arrays = checkpoints.read_arrays(path)
    if arrays.get("step") != step:
      raise checkpoints.DamagedError(f"its step is {arrays.get('step')}")
    for name, shape in self._shapes.items():
      found = arrays.get(name)
      if found is None or (found.shape, found.dtype) != (shape, np.float32):
        raise checkpoints.DamagedError(f"{name} is not float32 {shape}")
    return [arrays[name] for name in self._shapes]

  def wait(self) -> None:
    """Waits until what was published last is written."""
    if self._last:
      self._last.result()

  def close(self) -> None:
    """Waits until what was published last is written, and ends the thread."""
    if self._writer:
      self._writer.shutdown()
