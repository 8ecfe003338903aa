"""Auto-PGD (Croce and Hein 2020): gradient ascent with momentum that finds its own step sizes.

    attack = APGD(loss="dlr")
    adversarial = attack(model, images, labels, seed=0)
"""

import dataclasses
import functools
from typing import ClassVar

import tensorflow as tf

from tf_madry.attacks import linf
from tf_madry.attacks.base import (
    Cost,
    Model,
    Seed,
    brief,
    check_patience,
    later,
    num_classes,
    require_enough_classes,
)
from tf_madry.attacks.losses import (
    FEWEST_CLASSES,
    LOSSES,
    Loss,
    margin,
    require_classes,
    targeted_dlr,
)
from tf_madry.attacks.pgd import differentiate
from tf_madry.attacks.restarts import in_turn
from tf_madry.attacks.targeted import check_towards, towards_cost, towards_each
from tf_madry.errors import require
from tf_madry.runtime import seeds
from tf_madry.settings import check_attack

MOMENTUM = 0.75  # α of Algorithm 1
# Intervals between checkpoints in percent of the steps, as the paper sets them: the first, by how
# much each further one is shorter, the shortest.
FIRST, SHORTER, SHORTEST = 22, 3, 6
HOPEFUL = 0.4  # share of the steps that a robust network's examples take under a patience of 2


@tf.function(reduce_retracing=True)
def ascend(model: Model, images: tf.Tensor, labels: tf.Tensor, key: tf.Tensor, *, loss: Loss,
           k: tf.Tensor, epsilon: tf.Tensor, rho: tf.Tensor,
           targets: tf.Tensor | None = None,
           patience: tf.Tensor | None = None) -> tuple[tf.Tensor, tf.Tensor]:
  """Algorithm 1 of Croce and Hein (2020), every example with a step size of its own.

  At each checkpoint the step of an example is halved, and its search goes back to its best point,
  if no more than a share ρ of the steps since the last checkpoint raised the loss, or if its step
  was not halved there and its best loss has not risen since.

  Args:
    model: maps images to logits.
    images: float32 [batch, height, width, channels] in [0, 1].
    labels: int32 [batch].
    key: int32 [2], see `seeds.key`.
    loss: a function of `losses.py`.
    k, epsilon, rho: scalar tensors: steps, radius of the ball, ρ.
    targets: int32 [batch], for a targeted loss only.
    patience: where it is given, examples that fell leave the search at the next checkpoint, and so
      do hopeless ones: those whose lowest margin would stay above 0 if it went on to fall
      `patience` times as fast as since the last checkpoint. Falling slows down as a search goes on.

  Returns:
    (best, step_sizes): of every example the first image that the model got wrong, else that of the
    highest loss; and the size of its last step, [batch, 1, 1, 1], of examples that did not leave.
  """
  rows = tf.where(tf.ones_like(labels, tf.bool))
  if patience is not None:
    # Gathered, so that the number of examples is open.
    images, labels = tf.gather_nd(images, rows), tf.gather_nd(labels, rows)
    targets = None if targets is None else tf.gather_nd(targets, rows)
  aim = (labels,) if targets is None else (labels, targets)
  bounds = linf.ball(images, epsilon)
  x = previous_x = best = linf.project(linf.random_point(images, epsilon, key), bounds)
  best_gradient = tf.zeros_like(images)
  flat = tf.zeros_like(images[:, 0, 0, 0])
  highest, before, at_checkpoint = flat - float("inf"), flat + float("inf"), flat
  fooled, halved = tf.zeros_like(labels, tf.bool), tf.ones_like(labels, tf.bool)
  rises = tf.zeros_like(labels)
  step_sizes = 2 * epsilon * tf.ones_like(images[:, :1, :1, :1])
  interval, since_checkpoint = _percent(FIRST, k), 0
  found, lowest, mark = best, flat + float("inf"), flat

  step = 0
  while step <= k and not tf.reduce_all(fooled):
    gradient, objective, logits = differentiate(model, loss, x, aim)
    # An answer that is not finite is no success, and no reason to stop.
    finite = tf.reduce_all(tf.math.is_finite(logits), -1)
    wrong = (tf.argmax(logits, -1, tf.int32) != labels) & finite
    better = ~fooled & (wrong | (objective > highest))
    best = tf.where(_wide(better), x, best)
    best_gradient = tf.where(_wide(better), gradient, best_gradient)
    highest = tf.where(better, objective, highest)
    fooled |= wrong
    rises += tf.cast(objective > before, tf.int32)
    before = objective
    if patience is not None:
      lowest = tf.minimum(lowest, tf.where(finite, margin(logits, labels), float("inf")))
      mark = lowest if step == 0 else mark

    if since_checkpoint == interval:
      # The authors' code has ≤ where their paper has <.
      few = tf.cast(rises, tf.float32) <= rho * tf.cast(interval, tf.float32)
      halved = few | (~halved & (highest <= at_checkpoint))
      step_sizes = tf.where(_wide(halved), step_sizes / 2, step_sizes)
      x = tf.where(_wide(halved), best, x)
      gradient = tf.where(_wide(halved), best_gradient, gradient)
      at_checkpoint, rises = highest, tf.zeros_like(rises)
      if patience is not None:
        ahead = tf.cast(k - step, tf.float32) / tf.cast(interval, tf.float32)
        stay = tf.where(~fooled & (lowest <= patience * ahead * (mark - lowest)))
        mark = lowest
        found = tf.tensor_scatter_nd_update(found, rows, best)
        rows, labels, x, previous_x, gradient, best, best_gradient, step_sizes = _those(
            stay, rows, labels, x, previous_x, gradient, best, best_gradient, step_sizes)
        highest, before, at_checkpoint, fooled, halved, rises, lowest, mark = _those(
            stay, highest, before, at_checkpoint, fooled, halved, rises, lowest, mark)
        aim, bounds = _those(stay, *aim), _those(stay, *bounds)
      interval, since_checkpoint = tf.maximum(interval - _percent(SHORTER, k),
                                              _percent(SHORTEST, k)), 0

    onward = linf.project(x + step_sizes * tf.sign(gradient), bounds)
    # The first step has no direction to keep.
    weight = MOMENTUM if step > 0 else 1.0
    x, previous_x = linf.project(x + weight * (onward - x) + (1 - weight) * (x - previous_x),
                                 bounds), x
    step, since_checkpoint = step + 1, since_checkpoint + 1
  return tf.tensor_scatter_nd_update(found, rows, best), step_sizes


def _those(numbers, *tensors):
  """Of each tensor the rows of those numbers."""
  return tuple(tf.gather_nd(tensor, numbers) for tensor in tensors)


def _percent(percent, k):
  """That share of k steps, at least one."""
  return tf.maximum(percent * k // 100, 1)


def _wide(numbers):
  """[batch] as [batch, 1, 1, 1], to go with images."""
  return numbers[:, tf.newaxis, tf.newaxis, tf.newaxis]


@dataclasses.dataclass(frozen=True, kw_only=True)
class APGD:
  """Auto-PGD; the defaults are those of the paper's ensemble, AutoAttack.

  Attributes:
    loss: name in `losses.LOSSES`.
    k: steps; it takes k + 1 gradients to know the loss after the last one.
    epsilon: radius of the ball, in units of the pixel range.
    rho: share of the steps that have to raise the loss for the step size to stay.
    patience: when to give an example up, as in `ascend`; None: never, as in the paper.
  """

  randomised: ClassVar[bool] = True

  loss: str = "xent"
  k: int = 100
  epsilon: float = 0.3
  rho: float = 0.75
  patience: float | None = later()

  __repr__ = brief

  def __post_init__(self):
    require(self.loss in LOSSES, "loss", self.loss, ", ".join(LOSSES))
    _check(self)

  @property
  def fewest_classes(self) -> int:
    """As in `Attack`."""
    return FEWEST_CLASSES[self.loss]

  def cost(self, num_classes: int) -> Cost:
    """As in `Attack`."""
    return Cost(round(_share(self) * (self.k + 1)), 0)

  def __call__(self, model: Model, images: tf.Tensor, labels: tf.Tensor, *,
               seed: Seed = 0) -> tf.Tensor:
    """As in `Attack`."""
    require_enough_classes(self.loss, model, images)
    return in_turn(model, images, labels,
                   [lambda x, y: _run(self, model, LOSSES[self.loss], x, y, seed)])


@dataclasses.dataclass(frozen=True, kw_only=True)
class APGDT:
  """Auto-PGD on the targeted DLR loss, towards the likeliest wrong classes in turn; defaults as in
  AutoAttack.

  Attributes:
    k, epsilon, rho, patience: as in `APGD`.
    targets: how many classes to try, the likeliest first.
    scout: as in `targeted.towards_each`; None: all these classes are tried in all k.
  """

  randomised: ClassVar[bool] = True
  fewest_classes: ClassVar[int] = FEWEST_CLASSES["targeted_dlr"]

  k: int = 100
  epsilon: float = 0.3
  rho: float = 0.75
  targets: int = 9
  patience: float | None = later()
  scout: int | None = later()

  __repr__ = brief

  def __post_init__(self):
    check_towards(self)
    _check(self)

  def cost(self, num_classes: int) -> Cost:
    """As in `Attack`."""
    return towards_cost(round(_share(self) * (self.k + 1)), self.targets, self.scout, num_classes)

  def __call__(self, model: Model, images: tf.Tensor, labels: tf.Tensor, *,
               seed: Seed = 0) -> tf.Tensor:
    """As in `Attack`."""
    require_classes("targeted_dlr", num_classes(model, images))
    return towards_each(functools.partial(_run, self, model, targeted_dlr), model, images, labels,
                        targets=self.targets, scout=self.scout, epsilon=self.epsilon, seed=seed)


def _run(attack, model, loss, images, labels, seed, targets=None):
  epsilon, rho = tf.unstack(tf.constant([attack.epsilon, attack.rho], tf.float32))
  patience = None if attack.patience is None else tf.constant(attack.patience, tf.float32)
  best, _ = ascend(model, images, labels, seeds.key(seed, 0, "random start"), loss=loss,
                   k=tf.constant(attack.k), epsilon=epsilon, rho=rho, targets=targets,
                   patience=patience)
  return best


def _share(attack):
  return 1.0 if attack.patience is None else HOPEFUL


def _check(attack):
  check_attack(k=attack.k, epsilon=attack.epsilon)
  require(0 < attack.rho <= 1, "rho", attack.rho, "a number above 0, at most 1")
  check_patience(attack.patience)
