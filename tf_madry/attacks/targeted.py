"""Targeted PGD, and multi-targeted PGD (Gowal et al. 2019): every other class in turn."""

import dataclasses
import functools

import numpy as np
import tensorflow as tf

from tf_madry.attacks.losses import difference, margin, without
from tf_madry.attacks.pgd import maximise_compiled
from tf_madry.attacks.standing import in_turn, num_classes, prepare
from tf_madry.config import AttackConfig
from tf_madry.runtime import seeds


@tf.function(reduce_retracing=True)
def likely_targets(model, images, labels, rank):
  """The wrong class with the `rank`-th largest logit (0: the largest) of every image, int32 [batch]."""
  others = without(labels, model(images))
  return tf.argsort(others, direction="DESCENDING")[:, rank]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Targeted:
  """PGD towards a given class, on the lead of its logit over all others.

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

  def __call__(self, model, images, targets, *, seed=0):
    """Returns float32 adversarial images of the shape of `images`; `targets` are classes, int32 [batch]."""
    return _maximise(self, model, margin, *prepare(images, targets), seed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultiTargeted:
  """PGD on the difference of two logits, of every other class in turn and of the label, the likeliest class first.

  Attributes:
    k, epsilon, alpha: as in `Targeted`.
  """

  k: int = 100
  epsilon: float = 0.3
  alpha: float | None = None

  def __post_init__(self):
    AttackConfig(k=self.k, epsilon=self.epsilon, alpha=self.alpha)

  def __call__(self, model, images, labels, *, seed=0):
    """Returns float32 adversarial images of the shape of `images`; `seed` as in `seeds.key`."""

    def towards(rank, images, labels):
      targets = likely_targets(model, images, labels, tf.constant(rank))
      return _maximise(self, model, difference, images, labels, seeds.key(seed, rank, "restart"), targets)

    return in_turn(model, images, labels,
                   (functools.partial(towards, rank) for rank in range(num_classes(model, images) - 1)))


def _maximise(attack, model, loss, images, labels, seed, targets=None):
  first = 2 * attack.epsilon if attack.alpha is None else attack.alpha
  alphas = tf.constant(np.linspace(first, first / attack.k, attack.k), tf.float32)
  epsilon = tf.constant(attack.epsilon, tf.float32)
  return maximise_compiled(model, loss, images, labels, tf.constant(attack.k), epsilon, alphas, epsilon,
                           seeds.key(seed, 0, "random start"), targets)
