"""Several attacks on the same examples, each only on those that still stand, with a record that survives a stop.

The suite and the leaderboard are lists of such trials. The record is one .npz file, replaced after every batch.
"""

import contextlib
import hashlib
import json
import os
import sys
import time
from typing import NamedTuple

import numpy as np
import tensorflow as tf

import tf_madry
from tf_madry import checkpoints, datasets
from tf_madry.evaluation import measure
from tf_madry.evaluation.on_disk import progress_bar
from tf_madry.runtime import files, seeds


class Trial(NamedTuple):
  """An attack to try: `restart` tells runs of the same attack apart, `source` is another model to craft on."""

  attack: object
  restart: int = 0
  source: object = None


class Trials:
  """What some attacks do to the examples of a split that a model gets right, as far as it is known.

  Args:
    model: maps float32 images to logits.
    split: `datasets.Split`.
    trials: {name: `Trial`}.
    epsilon: radius of the ball that adversarial examples have to lie in.
    seed: of the attacks.
    batch_size: examples at a time; random starts depend on it, what is known already does not.
    folder: where the record is kept; None: nowhere. Its file is named after the digest of the weights, the examples and
      the settings, so that a record is never taken for that of something else.

  Attributes:
    right: bool [n], which examples the model gets right without an attack.
    adversarial: float32 [n, height, width, channels], adversarial images of the broken examples, natural ones of the
      others.
    resumed: whether there was a record to go on from.
    model, split, trials, batch_size: as given.
  """

  def __init__(self, model, split, trials, *, epsilon, seed=0, batch_size=200, folder=None):
    self.right = measure.predict(model, datasets.as_float(split.images), batch_size) == split.labels
    self.adversarial = datasets.as_float(split.images)
    self.model, self.split, self.trials, self.batch_size = model, split, trials, batch_size
    self._epsilon, self._seed = epsilon, seed
    self._rows = {name: row for row, name in enumerate(trials)}
    self._tried = np.zeros((len(trials), len(split)), bool)
    self._broken = np.zeros_like(self._tried)
    self._seconds = np.zeros(len(trials))
    self._identity = json.dumps({
        "version": tf_madry.__version__, "weights": digest(model), "seed": seed, "epsilon": epsilon,
        "examples": _digest([split.images, split.labels]),
        "trials": {name: [repr(trial.attack), trial.restart, trial.source and digest(trial.source)]
                   for name, trial in trials.items()}})
    self._path = folder and os.path.join(folder, f"{hashlib.sha256(self._identity.encode()).hexdigest()[:16]}.npz")
    if folder:
      files.remove_temporary(folder)
    self.resumed = self._load()

  def tried(self, *names):
    """Which examples all of these attacks were tried on, bool [n]."""
    return self._tried[[self._rows[name] for name in names]].all(0)

  def broken(self, *names):
    """Which examples at least one of these attacks broke, bool [n]."""
    return self._broken[[self._rows[name] for name in names]].any(0)

  def standing(self, *names):
    """Which examples the model gets right whatever these attacks found, bool [n]."""
    return self.right & ~self.broken(*names)

  def seconds(self, *names):
    """How long these attacks have taken, compiling included."""
    return float(self._seconds[[self._rows[name] for name in names]].sum())

  def run(self, *names):
    """Tries these attacks in order, each on what stands against all of them as far as is known.

    After each batch the record is on disk; in a terminal a bar shows how far the last attack is.
    """
    for name in names:
      with progress_bar(int((self.standing(*names) | self.tried(name)).sum()), name) as bar:
        while len(numbers := np.flatnonzero(self.standing(*names) & ~self.tried(name))[:self.batch_size]):
          bar.set_postfix(accuracy=f"{self.standing(*names).mean():.2%}")
          bar.update(int(self.tried(name).sum()) - bar.n)
          self._try(name, numbers)
          self._save()

  def _try(self, name, numbers):
    attack, restart, source = self.trials[name]
    natural, labels = datasets.as_float(self.split.images[numbers]), self.split.labels[numbers]
    key = seeds.key(seeds.key(self._seed, restart, "restart"), numbers[0], "evaluation")
    began = time.monotonic()
    found = attack(source or self.model, tf.constant(natural), tf.constant(labels), seed=key).numpy()
    breaks = is_adversarial(self.model, natural, found, labels, self._epsilon)
    row = self._rows[name]
    self._seconds[row] += time.monotonic() - began
    self._tried[row, numbers] = True
    self._broken[row, numbers[breaks]] = True
    self.adversarial[numbers[breaks]] = found[breaks]

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
      print(f"warning: the record {self._path!r} is damaged ({error}); starting over", file=sys.stderr)
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
  if name not in arrays or (arrays[name].dtype.kind, arrays[name].shape) != (own.dtype.kind, own.shape):
    raise checkpoints.DamagedError(f"{name} is missing or of another shape")


def is_adversarial(model, natural, found, labels, epsilon):
  """Which images are adversarial: in the ball, in [0, 1], and not taken for what they are, by the model in float32.

  Args:
    model: maps float32 images to logits.
    natural, found, epsilon: as for `measure.allowed`.
    labels: int32 [batch].

  Returns:
    bool [batch].
  """
  return measure.allowed(natural, found, epsilon) & (measure.predict(model, found, len(found)) != labels)


def digest(model):
  """A short name for a model's weights: the start of their SHA-256."""
  return _digest(variable.numpy() for variable in model.variables)


def _digest(arrays):
  hashed = hashlib.sha256()
  for array in arrays:
    hashed.update(f"{array.dtype}{array.shape}".encode())
    hashed.update(np.ascontiguousarray(array))
  return hashed.hexdigest()[:16]


@contextlib.contextmanager
def interruptible():
  """Says, when a signal ends the block, that nothing is lost."""
  try:
    yield
  except (KeyboardInterrupt, SystemExit):
    print("stopped; the same command goes on from here", flush=True)
    raise
