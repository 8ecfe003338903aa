"""Targeted PGD, and multi-targeted PGD (Gowal et al. 2019): every other class in turn."""

import dataclasses
import functools

import tensorflow as tf

from tf_madry import seeds
from tf_madry.attacks.losses import difference, without
from tf_madry.attacks.pgd import maximise_compiled
from tf_madry.attacks.standing import in_turn, num_classes, prepare
from tf_madry.config import AttackConfig


@tf.function(reduce_retracing=True)
def likely_targets(model, images, labels, rank):
  """The wrong class with the `rank`-th largest logit (0: the largest) of every image, int32 [batch]."""
  others = without(labels, model(images))
  return tf.argsort(others, direction="DESCENDING")[:, rank]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Targeted:
  """PGD towards a given class, on the difference of its logit and the label's.

  Attributes:
    k: steps.
    epsilon: radius of the ball, in units of the pixel range.
    alpha: size of the first step, in the same units; None: 2 ε. The size falls linearly, to α/k in the last step, so
      that the search goes from the whole ball to one corner of it.
  """

  k: int = 100
  epsilon: float = 0.3
  alpha: float | None = None

  def __post_init__(self):
    AttackConfig(k=self.k, epsilon=self.epsilon, alpha=self.alpha)

  def __call__(self, model, images, labels, targets, *, seed=0):
    """Returns adversarial images of the shape and type of `images`; `targets` is int32 [batch]."""
    images, labels = prepare(images, labels)
    first = 2 * self.epsilon if self.alpha is None else self.alpha
    alphas = tf.linspace(first, first / self.k, self.k)
    return maximise_compiled(model, difference, images, labels, tf.constant(self.k),
                             tf.constant(self.epsilon, tf.float32), tf.cast(alphas, tf.float32),
                             tf.constant(self.epsilon, tf.float32), seeds.key(seed, 0, "random start"),
                             tf.cast(targets, tf.int32))


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultiTargeted:
  """`Targeted` towards every other class in turn, the likeliest first; settings as there."""

  k: int = 100
  epsilon: float = 0.3
  alpha: float | None = None

  def __post_init__(self):
    self._targeted()

  def _targeted(self):
    return Targeted(**dataclasses.asdict(self))

  def __call__(self, model, images, labels, *, seed=0):
    """Returns adversarial images of the shape and type of `images`; `seed` as in `seeds.key`."""

    def towards(rank, images, labels):
      targets = likely_targets(model, images, labels, tf.constant(rank))
      return self._targeted()(model, images, labels, targets, seed=seeds.key(seed, rank, "restart"))

    return in_turn(model, images, labels,
                   (functools.partial(towards, rank) for rank in range(num_classes(model, images) - 1)))
