"""Targeted PGD, and multi-targeted PGD (Gowal et al. 2019): every other class in turn."""

import dataclasses
import functools
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import tensorflow as tf

from tf_madry.attacks.base import Attack, Cost, Model, Seed, brief, later, prepare
from tf_madry.attacks.losses import Loss, difference, margin, without
from tf_madry.attacks.pgd import maximise_compiled
from tf_madry.attacks.restarts import in_turn
from tf_madry.errors import require
from tf_madry.runtime import seeds
from tf_madry.runtime.graphs import float32_logits
from tf_madry.settings import check_attack

NEAR = 0.4  # share of an example's lead that is left where a full search is worth it
# Such searches for an example of a robust network, all classes together, for each step of the
# scout; those for a few examples at a time take twice as long, and count double.
HOPEFUL = 0.065


@tf.function(reduce_retracing=True)
def likely_targets(model: Model, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
  """The wrong classes of every image, that of the largest logit first: int32
  [batch, classes - 1]."""
  others = without(labels, float32_logits(model, images))
  return tf.argsort(others, direction="DESCENDING")[:, :-1]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Targeted:
  """PGD towards a given class, on the lead of its logit over all others.

  Attributes:
    k: steps.
    epsilon: radius of the ball, in units of the pixel range.
    alpha: size of the first step, in the same units; None: 2 ε. The size falls linearly, to α/k in
      the last step, so that the search goes from the whole ball to one corner of it.
  """

  randomised: ClassVar[bool] = True
  fewest_classes: ClassVar[int] = 2

  k: int = 100
  epsilon: float = 0.3
  alpha: float | None = None

  def __post_init__(self):
    check_attack(k=self.k, epsilon=self.epsilon, alpha=self.alpha)

  def cost(self, num_classes: int) -> Cost:
    """As in `Attack`."""
    return Cost(self.k, 0)

  def __call__(self, model: Model, images: tf.Tensor, targets: tf.Tensor, *,
               seed: Seed = 0) -> tf.Tensor:
    """As in `Attack`, but that `targets` are the classes to reach: int32 [batch]."""
    images, targets = prepare(model, images, targets)
    return narrowing(model, images, targets, seed, loss=margin, k=self.k, epsilon=self.epsilon,
                     alpha=self.alpha)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultiTargeted:
  """PGD on the difference of two logits, of every other class in turn and of the label, the
  likeliest class first.

  Attributes:
    k, epsilon, alpha: as in `Targeted`.
    targets: how many classes to try; None: all others.
    scout: steps of a first search for each class, as in `towards_each`; None: all classes are
      tried in all k.
  """

  randomised: ClassVar[bool] = True
  fewest_classes: ClassVar[int] = 2

  k: int = 100
  epsilon: float = 0.3
  alpha: float | None = None
  targets: int | None = later()
  scout: int | None = later()

  __repr__ = brief

  def __post_init__(self):
    check_attack(k=self.k, epsilon=self.epsilon, alpha=self.alpha)
    check_towards(self)

  def cost(self, num_classes: int) -> Cost:
    """As in `Attack`."""
    return towards_cost(self.k, self.targets, self.scout, num_classes)

  def __call__(self, model: Model, images: tf.Tensor, labels: tf.Tensor, *,
               seed: Seed = 0) -> tf.Tensor:
    """As in `Attack`."""
    search = functools.partial(narrowing, model, loss=difference, k=self.k, epsilon=self.epsilon,
                               alpha=self.alpha)
    return towards_each(search, model, images, labels, targets=self.targets, scout=self.scout,
                        epsilon=self.epsilon, seed=seed)


def towards_each(search: Callable[..., tf.Tensor], model: Model, images: tf.Tensor,
                 labels: tf.Tensor, *, targets: int | None, scout: int | None, epsilon: float,
                 seed: Seed) -> tf.Tensor:
  """Makes a search for every other class in turn, as `in_turn` does.

  Args:
    search: from (images, labels, key, targets) to adversarial images.
    model, images, labels: as in `Attack`.
    targets: how many classes to try, the likeliest first; None: all.
    scout: steps of a first search for each, by PGD on `losses.difference`: after it only classes
      for which the lead of the label fell to `NEAR` of what it was are tried, the nearest first.
      None: all are.
    epsilon: radius of the ball.
    seed: of the random starts.

  Returns:
    float32 images, of the shape of `images`.
  """
  images, labels = prepare(model, images, labels)
  classes = likely_targets(model, images, labels)[:, :targets]
  keys = [seeds.key(seed, rank, "restart") for rank in range(classes.shape[1])]
  if scout is None:
    scouted = images
  else:
    first = functools.partial(narrowing, model, loss=difference, k=scout, epsilon=epsilon)
    scouted, classes = _scout(first, model, images, labels, keys, classes)
  found = in_turn(model, images, labels,
                  [lambda x, y, aim, key=key: search(x, y, key, aim) for key in keys], classes)
  return tf.where(tf.reshape(classes[:, 0] >= 0, [-1, 1, 1, 1]), found, scouted)


def towards_cost(k: int, targets: int | None, scout: int | None, num_classes: int) -> Cost:
  """What `towards_each` asks of a model, as in `Attack`, where the search takes k gradients."""
  classes = min(targets or num_classes, num_classes - 1)
  return Cost(k * classes if scout is None else round(scout * (classes + HOPEFUL * k)), 0)


def check_towards(attack: Attack) -> None:
  """Raises `UserError` unless the settings for `towards_each` can be some."""
  require(attack.targets is None or attack.targets >= 1, "targets", attack.targets,
          "a whole number of classes, at least 1")
  require(attack.scout is None or attack.scout >= 1, "scout", attack.scout,
          "a whole number of steps, at least 1")


def _scout(search, model, images, labels, keys, classes):
  """(of every image what came nearest to falling; the classes that are worth a full search, the
  nearest first, then -1: int32 [batch, classes])."""
  found = [search(images, labels, key, aim)
           for key, aim in zip(keys, tf.unstack(classes, axis=1), strict=True)]
  leads = tf.stack([lead(model, tried, labels) for tried in found], 1)
  order = tf.argsort(leads)
  nearest, leads, classes = (tf.gather(tensor, order, batch_dims=1)
                             for tensor in (tf.stack(found, 1), leads, classes))
  near = (leads <= NEAR * lead(model, images, labels)[:, tf.newaxis]) & (leads[:, :1] > 0)
  return nearest[:, 0], tf.where(near, classes, -1)


def lead(model: Model, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
  """The margin of each example, float32 [batch]; infinite where it is no number."""
  leads = margin(float32_logits(model, images), labels)
  return tf.where(tf.math.is_finite(leads), leads, float("inf"))


def narrowing(model: Model, images: tf.Tensor, labels: tf.Tensor, seed: Seed,
              targets: tf.Tensor | None = None, *, loss: Loss, k: int, epsilon: float,
              alpha: float | None = None) -> tf.Tensor:
  """PGD whose steps fall linearly from α to α/k, so that it goes from the whole ball to one corner
  of it.

  Args:
    model, images, labels: as `prepare` gives them.
    seed: of the random start.
    targets: int32 [batch], for a targeted loss only.
    loss: a function of `losses.py`.
    k, epsilon, alpha: as in `Targeted`.

  Returns:
    float32 images, of the shape of `images`.
  """
  first = 2 * epsilon if alpha is None else alpha
  alphas = tf.constant(np.linspace(first, first / k, k), tf.float32)
  return maximise_compiled(model, images, labels, seeds.key(seed, 0, "random start"), loss=loss,
                           k=tf.constant(k), epsilon=tf.constant(epsilon, tf.float32),
                           alpha=alphas, targets=targets)
