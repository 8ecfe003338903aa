"""Attacks where they are worth it: a few steps of PGD tell which examples come near to falling."""

import dataclasses
import functools
from typing import ClassVar

import tensorflow as tf

from tf_madry.attacks.base import Attack, Cost, Model, Seed
from tf_madry.attacks.losses import cw
from tf_madry.attacks.restarts import in_turn
from tf_madry.attacks.targeted import NEAR, lead, narrowing
from tf_madry.errors import require
from tf_madry.settings import check_attack

# Examples of a robust network that come near, a tenth; a few at a time take longer.
HOPEFUL = 0.17


@dataclasses.dataclass(frozen=True, kw_only=True)
class Glance:
  """PGD on the loss of Carlini and Wagner, then other attacks on examples whose lead fell to
  `targeted.NEAR` of what it was.

  Of networks that hide their gradients from PGD, it sees nothing come near: what it leaves standing
  is an upper bound, no more.

  Attributes:
    attacks: run one after another, each on what the ones before it left standing.
    k: steps of PGD, which grow shorter as those of `targeted.Targeted` do.
  """

  randomised: ClassVar[bool] = True

  attacks: tuple[Attack, ...]
  k: int = 10

  def __post_init__(self):
    require(len(self.attacks) >= 1, "number of attacks", 0, "at least 1")
    check_attack(k=self.k, epsilon=self.epsilon)

  @property
  def epsilon(self) -> float:
    """As in `Attack`: of the first of the attacks."""
    return self.attacks[0].epsilon

  @property
  def fewest_classes(self) -> int:
    """As in `Attack`."""
    return max(attack.fewest_classes for attack in self.attacks)

  def cost(self, num_classes: int) -> Cost:
    """As in `Attack`."""
    costs = [attack.cost(num_classes) for attack in self.attacks]
    gradients, forwards = (round(HOPEFUL * sum(kind)) for kind in zip(*costs, strict=True))
    return Cost(self.k + gradients, forwards)

  def __call__(self, model: Model, images: tf.Tensor, labels: tf.Tensor, *,
               seed: Seed = 0) -> tf.Tensor:
    """As in `Attack`."""
    return in_turn(model, images, labels, [functools.partial(self._search, model, seed)])

  def _search(self, model, seed, images, labels):
    found = narrowing(model, images, labels, seed, loss=cw, k=self.k, epsilon=self.epsilon)
    left = lead(model, found, labels)
    near = tf.where((left > 0) & (left <= NEAR * lead(model, images, labels)))
    if tf.size(near) == 0:
      return found
    tries = [functools.partial(attack, model, seed=seed) for attack in self.attacks]
    return tf.tensor_scatter_nd_update(
      found, near, in_turn(model, tf.gather_nd(images, near), tf.gather_nd(labels, near), tries))
