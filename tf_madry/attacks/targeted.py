"""Targeted PGD, and multi-targeted PGD (Gowal et al. 2019): every other class in turn."""

import dataclasses
import functools
from typing import ClassVar

import numpy as np
import tensorflow as tf

from tf_madry.attacks.base import Cost, Model, Seed, brief, later, num_classes, prepare
from tf_madry.attacks.losses import difference, margin, without
from tf_madry.attacks.pgd import maximise_compiled
from tf_madry.attacks.restarts import in_turn
from tf_madry.errors import require
from tf_madry.runtime import seeds
from tf_madry.runtime.graphs import float32_logits
from tf_madry.settings import check_attack

NEAR = 0.3  # share of an example's lead that is left where a full search is worth it
HOPEFUL = 0.09  # such searches for an example of a robust network, all classes together


@tf.function(reduce_retracing=True)
def likely_targets(model: Model, images: tf.Tensor, labels: tf.Tensor,
                   rank: tf.Tensor) -> tf.Tensor:
  """The wrong class with the `rank`-th largest logit (0: the largest) of every image, int32
  [batch]."""
  others = without(labels, float32_logits(model, images))
  return tf.argsort(others, direction="DESCENDING")[:, rank]


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
    return _run(self, model, margin, *prepare(model, images, targets), seed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultiTargeted:
  """PGD on the difference of two logits, of every other class in turn and of the label, the
  likeliest class first.

  Attributes:
    k, epsilon, alpha: as in `Targeted`.
    targets: how many classes to try; None: all others.
    scout: steps of a first search for each class; only examples whose lead it cuts to `NEAR` of
      what it was are attacked in all k. None: all are.
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
    require(self.scout is None or 1 <= self.scout < self.k, "scout", self.scout,
            f"a whole number of steps from 1 to below k = {self.k}")
    require(self.targets is None or self.targets >= 1, "targets", self.targets,
            "a whole number of classes, at least 1")

  def cost(self, num_classes: int) -> Cost:
    """As in `Attack`."""
    tries = self._tries(num_classes)
    if self.scout is None:
      return Cost(self.k * tries, 0)
    return Cost(self.scout * tries + round(HOPEFUL * self.k), 0)

  def _tries(self, num_classes):
    return min(self.targets or num_classes, num_classes - 1)

  def __call__(self, model: Model, images: tf.Tensor, labels: tf.Tensor, *,
               seed: Seed = 0) -> tf.Tensor:
    """As in `Attack`."""

    def towards(rank, images, labels):
      targets, key = likely_targets(model, images, labels,
                                    tf.constant(rank)), seeds.key(seed, rank, "restart")

      def search(attack, images, labels, targets):
        return _run(attack, model, difference, images, labels, key, targets)

      if self.scout is None:
        return search(self, images, labels, targets)
      found = search(dataclasses.replace(self, k=self.scout, scout=None), images, labels, targets)
      before, after = (margin(float32_logits(model, x), labels) for x in (images, found))
      near = tf.where((after > 0) & (after <= NEAR * before))
      if tf.size(near) == 0:
        return found
      chosen = (tf.gather_nd(tensor, near) for tensor in (images, labels, targets))
      return tf.tensor_scatter_nd_update(found, near, search(self, *chosen))

    return in_turn(model, images, labels,
                   (functools.partial(towards, rank)
                    for rank in range(self._tries(num_classes(model, images)))))


def _run(attack, model, loss, images, labels, seed, targets=None):
  first = 2 * attack.epsilon if attack.alpha is None else attack.alpha
  alphas = tf.constant(np.linspace(first, first / attack.k, attack.k), tf.float32)
  return maximise_compiled(model, images, labels, seeds.key(seed, 0, "random start"), loss=loss,
                           k=tf.constant(attack.k), epsilon=tf.constant(attack.epsilon, tf.float32),
                           alpha=alphas, targets=targets)
