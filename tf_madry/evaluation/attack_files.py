"""The MNIST challenge's attack files.

An attack file is a NumPy array of all test images, perturbed, a row each, in the order of the test
set.
"""

import dataclasses
import tokenize
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tf_madry import datasets
from tf_madry.errors import UserError, require
from tf_madry.evaluation import published, verify
from tf_madry.evaluation.intervals import wilson
from tf_madry.models.loading import LoadedModel
from tf_madry.runtime import files
from tf_madry.runtime.text import percent_interval

TOLERANCE = 1e-4  # beyond ε and beyond [0, 1], in the challenge's run_attack.py


class Perturbed(NamedTuple):
  """An attack file that was found valid.

  `images` has the shape of the test set and may still be on disk; `largest` is the largest
  perturbation, at pixel (`row`, `column`) of image `example`; `notice` is something to tell the
  user, or None.
  """

  images: np.ndarray
  largest: float
  example: int
  row: int
  column: int
  notice: str | None


def read_attack(path: str, images: np.ndarray, epsilon: float, batch_size: int = 1000) -> Perturbed:
  """Opens an attack file and verifies it as the challenge does.

  Args:
    path: of a .npy file, float32 or float64, of shape [n, height × width × channels], as the
      challenge has it, or that of `images`, with or without the channel of grey images.
    images: the natural images, uint8 [n, height, width, channels].
    epsilon: the largest perturbation allowed.
    batch_size: rows in memory at a time.

  Raises:
    UserError: not such a file, or a number that is not finite, not in [0, 1] or beyond ε.
  """
  array, where = _open(path), f"attack_file {path!r}"
  flat = (len(images), int(np.prod(images.shape[1:])))
  shapes = [flat, images.shape[:3], images.shape] if images.shape[3] == 1 else [flat, images.shape]
  require(array.shape in shapes, f"shape of {where}", array.shape, " or ".join(map(str, shapes)))
  largest = (-1.0, 0, 0, 0)
  for start in range(0, len(images), batch_size):
    natural = datasets.as_float(images[start:start + batch_size])
    found = np.asarray(array[start:start + batch_size], np.float64).reshape(natural.shape)
    _require_pixels(np.isfinite(found), found, start, where, "finite numbers")
    inside = (found >= -TOLERANCE) & (found <= 1 + TOLERANCE)
    _require_pixels(inside, found, start, where, f"numbers from 0 to 1 (within {TOLERANCE:g})")
    distance = np.abs(found - natural)
    example, row, column, _ = np.unravel_index(distance.argmax(), distance.shape)
    largest = max(largest, (float(distance.max()), start + int(example), int(row), int(column)),
                  key=lambda at: at[0])
  found = "{:.6g} (example {}, row {}, column {})".format(*largest)
  require(largest[0] <= epsilon + TOLERANCE, f"largest perturbation in {where}", found,
          f"at most ε = {epsilon:g} (within {TOLERANCE:g})")
  return Perturbed(array, *largest,
                   None if array.shape == flat else f"shape {array.shape} taken as {flat}")


def _open(path):
  where = f"attack_file {path!r}"
  accepted = "accepted: a .npy file of float32 or float64"
  try:
    with open(path, "rb") as file:
      magic = file.read(len(np.lib.format.MAGIC_PREFIX))
    if magic.startswith(b"PK"):
      raise UserError(f"{where} is an archive (.npz), {accepted}")
    if magic != np.lib.format.MAGIC_PREFIX:
      raise UserError(f"{where} is not a .npy file, {accepted}")
    with np.errstate(over="ignore"):  # NumPy multiplies the shape first, then finds it too large
      try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
      except OSError as error:
        if error.errno not in files.LACKING:
          raise
        array = np.load(path, allow_pickle=False)  # the file system maps nothing into memory
  except OSError as error:
    raise UserError(f"{where} cannot be read: {error.strerror or error}") from error
  except (ValueError, TypeError, EOFError, SyntaxError, tokenize.TokenError, OverflowError,
          MemoryError) as error:
    pickled = "Python objects" in str(error)
    said = (str(error) or type(error).__name__).splitlines()[0]
    reason = "it holds pickled objects, which are never loaded" if pickled else said
    raise UserError(f"{where} cannot be used: {reason}; {accepted}") from error
  known = array.dtype.newbyteorder("=") in (np.float32, np.float64)
  require(known, f"type of {where}", str(array.dtype), "float32 or float64")
  return array


def _require_pixels(fine, found, start, where, accepted):
  if not fine.all():
    example, row, column, channel = np.argwhere(~fine)[0]
    value = found[example, row, column, channel]
    require(False, f"{where}, example {start + example}, row {row}, column {column},",
            float(f"{value:.6g}"), accepted)


@dataclasses.dataclass(frozen=True)
class Result:
  """How a model does on an attack file; accuracy in [0, 1], interval 95 % (Wilson).

  `places` says for each of the challenge's leaderboards where the accuracy would stand; {} if the
  file is not one for the challenge, being for another data set or beyond its ε.
  """

  attack_file: str
  n: int
  epsilon: float
  largest_perturbation: float
  adversarial_accuracy: float
  adversarial_interval: tuple[float, float]
  places: dict[str, str]


def evaluate_file(loaded: LoadedModel, path: str, split: datasets.Split, epsilon: float, *,
                  batch_size: int = 200) -> tuple[Result, Perturbed, np.ndarray]:
  """Verifies an attack file and runs a model on it, as the challenge's run_attack.py does.

  Args:
    loaded: the model.
    path: of the attack file.
    split: the examples it was made from.
    epsilon: the largest perturbation allowed.
    batch_size: examples at a time.

  Returns:
    (`Result`, `Perturbed`, predictions int64 [n]).

  Raises:
    UserError: as `read_attack`.
  """
  perturbed = read_attack(path, split.images, epsilon)
  shape = (-1, *split.images.shape[1:])
  predictions = np.concatenate([
      verify.predict(loaded.model, np.asarray(perturbed.images[start:start + batch_size],
                                              np.float32).reshape(shape),
                      batch_size)
      for start in range(0, len(split), batch_size)])
  n, accuracy = len(split), float((predictions == split.labels).mean())
  small = perturbed.largest <= published.EPSILON + TOLERANCE
  valid = loaded.config.training.dataset == "mnist" and small
  places = {name: published.place(accuracy, board)
            for name, board in published.BOARDS.items()} if valid else {}
  result = Result(path, n, epsilon, perturbed.largest, accuracy, wilson(accuracy, n), places)
  return result, perturbed, predictions.astype(np.int64)


def lines(result: Result, perturbed: Perturbed) -> Iterator[str]:
  """A `Result` as lines of text."""
  if perturbed.notice:
    yield f"note: {perturbed.notice}"
  yield (f"largest perturbation: {perturbed.largest:.6f} (ε = {result.epsilon:g}), at example "
         f"{perturbed.example}, row {perturbed.row}, column {perturbed.column}")
  interval = percent_interval(result.adversarial_interval)
  yield f"accuracy: {result.adversarial_accuracy:.2%}  (95 % interval {interval}, n = {result.n:,})"
  for name, text in result.places.items():
    yield f"on the challenge's {name} leaderboard, which is of attacks on its secret model: {text}"


def write_predictions(path: str, predictions: np.ndarray) -> None:
  """Writes the classes the model saw, int64 [n], as the challenge's pred.npy."""
  with files.output("predictions", path) as file:
    np.save(file, predictions)


def write_attack(path: str, images: np.ndarray) -> None:
  """Writes adversarial images as an attack file: float32 [n, height × width × channels]."""
  with files.output("save_attack", path) as file:
    np.save(file, images.reshape(len(images), -1))
