"""What several attacks did to the same examples, in a file that survives a stop.

The record is one .npz file. It is named after the digest of the weights, the examples and the
settings, so that it is never taken for that of something else.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

import tf_madry
from tf_madry import checkpoints, datasets
from tf_madry.attacks.base import Attack, Model
from tf_madry.evaluation import verify
from tf_madry.runtime import files


class Trial(NamedTuple):
  """An attack to try: `restart` tells runs of the same attack apart, `source` is another model to
  craft on."""

  attack: Attack
  restart: int = 0
  source: Model | None = None


class Record:
  """What some attacks do to the examples of a split that a model gets right, as far as it is known.

  Args:
    model: maps float32 images to logits.
    split: the examples.
    trials: the attacks by name.
    epsilon: radius of the ball that adversarial examples have to lie in.
    seed: of the attacks.
    batch_size: examples at a time; random starts depend on it, what is known already does not.
    folder: where the record is kept; None: nowhere.

  Attributes:
    right: bool [n], which examples the model gets right without an attack.
    adversarial: float32 [n, height, width, channels], adversarial images of the broken examples,
      natural ones of the others.
    resumed: whether there was a record to go on from.
    model, split, trials, epsilon, seed, batch_size: as given.
  """

  def __init__(self, model: Model, split: datasets.Split, trials: dict[str, Trial], *,
               epsilon: float, seed: int = 0, batch_size: int = 200, folder: str | None = None):
    self.right = verify.predict(model, datasets.as_float(split.images), batch_size) == split.labels
    self.adversarial = datasets.as_float(split.images)
    self.model, self.split, self.trials, self.batch_size = model, split, trials, batch_size
    self.epsilon, self.seed = epsilon, seed
    self._rows = {name: row for row, name in enumerate(trials)}
    self._tried = np.zeros((len(trials), len(split)), bool)
    self._broken = np.zeros_like(self._tried)
    self._seconds = np.zeros(len(trials))
    self._identity, self._path = "", None
    if folder:
      self._identity = json.dumps({
          "version": tf_madry.__version__, "weights": digest(model), "seed": seed,
          "epsilon": epsilon, "examples": _digest([split.images, split.labels]),
          "trials": {name: [repr(trial.attack), trial.restart,
                            trial.source and digest(trial.source)]
                     for name, trial in trials.items()}})
      name = hashlib.sha256(self._identity.encode()).hexdigest()[:16]
      self._path = os.path.join(folder, f"{name}.npz")
      files.remove_temporary(folder)
    self.resumed = self._load()

  def tried(self, *names: str) -> np.ndarray:
    """Which examples all of these attacks were tried on, bool [n]."""
    return self._tried[[self._rows[name] for name in names]].all(0)

  def broken(self, *names: str) -> np.ndarray:
    """Which examples at least one of these attacks broke, bool [n]."""
    return self._broken[[self._rows[name] for name in names]].any(0)

  def standing(self, *names: str) -> np.ndarray:
    """Which examples the model gets right whatever these attacks found, bool [n]."""
    return self.right & ~self.broken(*names)

  def seconds(self, *names: str) -> float:
    """How long these attacks have taken, compiling included."""
    return float(self._seconds[[self._rows[name] for name in names]].sum())

  def add(self, name: str, numbers: np.ndarray, found: np.ndarray, breaks: np.ndarray,
          seconds: float) -> None:
    """Adds what an attack did to a batch, and writes the file anew.

    Args:
      name: of the attack.
      numbers: of the examples that it was tried on, [batch].
      found: what it returned, float32 [batch, height, width, channels].
      breaks: which of these images are adversarial, bool [batch].
      seconds: how long it took.
    """
    row = self._rows[name]
    self._seconds[row] += seconds
    self._tried[row, numbers] = True
    self._broken[row, numbers[breaks]] = True
    self.adversarial[numbers[breaks]] = found[breaks]
    self._save()

  def _save(self):
    if not self._path:
      return
    fallen = np.flatnonzero(self._broken.any(0))
    with files.output("record", self._path) as file:
      np.savez(file, identity=np.array(self._identity), tried=self._tried, broken=self._broken,
               seconds=self._seconds, adversarial=self.adversarial[fallen])

  def _load(self):
    if not self._path or not os.path.exists(self._path):
      return False
    try:
      self._restore(checkpoints.read_arrays(self._path))
    except checkpoints.DamagedError as error:
      print(f"warning: the record {self._path!r} is damaged ({error}); starting over",
            file=sys.stderr)
      return False
    return True

  def _restore(self, arrays):
    like = {"identity": np.array(self._identity), "tried": self._tried, "broken": self._broken,
            "seconds": self._seconds}
    for name, own in like.items():
      _require_like(arrays, name, own)
    if str(arrays["identity"]) != self._identity:
      raise checkpoints.DamagedError("it belongs to another evaluation")
    fallen = np.flatnonzero(arrays["broken"].any(0))
    _require_like(arrays, "adversarial", self.adversarial[fallen])
    self._tried, self._broken, self._seconds = arrays["tried"], arrays["broken"], arrays["seconds"]
    self.adversarial[fallen] = arrays["adversarial"]


def _require_like(arrays, name, own):
  if name not in arrays or (arrays[name].dtype.kind,
                            arrays[name].shape) != (own.dtype.kind, own.shape):
    raise checkpoints.DamagedError(f"{name} is missing or of another shape")


def digest(model: Model) -> str:
  """A short name for a model's weights: the start of their SHA-256; of others' files, of these."""
  of_file = getattr(model, "fingerprint", None)
  return of_file or _digest(variable.numpy() for variable in model.variables)


def _digest(arrays: Iterable[np.ndarray]) -> str:
  hashed = hashlib.sha256()
  for array in arrays:
    hashed.update(f"{array.dtype}{array.shape}".encode())
    hashed.update(np.ascontiguousarray(array))
  return hashed.hexdigest()[:16]
