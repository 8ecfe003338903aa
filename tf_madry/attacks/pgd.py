"""FGSM (Eq. 4) and projected gradient descent (Eq. 5).

    attack = PGD(k=40, alpha=0.01)
    adversarial = attack(model, images, labels, seed=0)
"""

import dataclasses
import typing

import tensorflow as tf

from tf_madry.attacks import linf
from tf_madry.attacks.losses import LOSSES
from tf_madry.attacks.standing import prepare, require_enough_classes
from tf_madry.config import AttackConfig
from tf_madry.runtime import seeds
from tf_madry.runtime.graphs import acyclic


def maximise(model, loss, images, labels, k, epsilon, alpha, radius, key, targets=None):
  """k steps of Eq. 5 from a random point within `radius`: the inner maximum of Eq. 6.

  To be called inside a `tf.function` (training does) or as `maximise_compiled`.

  Args:
    model: maps images to logits.
    loss: a function of `losses.py`.
    images: float32 [batch, height, width, channels] in [0, 1].
    labels: int32 [batch].
    k, epsilon, alpha, radius: scalar tensors: steps; radius of the ball, step and random start in units of the pixel
      range. `alpha` may also be of shape [k], a size for each step.
    key: int32 [2], see `seeds.key`.
    targets: int32 [batch], for a targeted loss only.

  Returns:
    float32 adversarial images, of the shape of `images`.
  """
  bounds = linf.ball(images, epsilon)
  aim = (labels,) if targets is None else (labels, targets)
  x = linf.project(linf.random_point(images, radius, key), bounds)
  for step_size in tf.broadcast_to(alpha, [k]):
    gradient, *_ = differentiate(model, loss, x, aim)
    x = linf.project(x + step_size * tf.sign(gradient), bounds)
  return x


maximise_compiled = tf.function(maximise, reduce_retracing=True)


@acyclic
def differentiate(model, loss, images, aim):
  """Evaluates `loss(model(images), *aim)`.

  Returns:
    (gradient, loss, logits): the gradient with respect to the images, zero where they do not reach the loss (a model
    that rounds them, for one) and where it is not finite; the loss [batch]; the logits [batch, classes].
  """
  with tf.GradientTape(watch_accessed_variables=False) as tape:
    tape.watch(images)
    logits = model(images)
    objective = loss(logits, *aim)
  gradient = tape.gradient(objective, images, unconnected_gradients=tf.UnconnectedGradients.ZERO)
  # One step along NaN, and the search is nowhere for good.
  return tf.where(tf.math.is_finite(gradient), gradient, 0.0), objective, logits


@dataclasses.dataclass(frozen=True, kw_only=True)
class PGD(AttackConfig):
  """Projected gradient descent (Eq. 5), the paper's attack.

  Its settings are those of `AttackConfig`, but that any loss of `losses.LOSSES` will do.
  """

  losses: typing.ClassVar = tuple(LOSSES)

  @property
  def randomised(self):
    """Whether another seed is another attack."""
    return self.random_start

  def settings(self):
    """The arguments (loss, k, epsilon, alpha, radius) of `maximise`: tensors, so that one trace serves all values."""
    radius = self.epsilon if self.random_start else 0.0
    numbers = tf.constant([self.epsilon, self.step_size, radius], tf.float32)
    return LOSSES[self.loss], tf.constant(self.k), *tf.unstack(numbers)

  def __call__(self, model, images, labels, *, seed=0):
    """Returns float32 adversarial images of the shape of `images`; `seed` as in `seeds.key`."""
    images, labels = prepare(images, labels)
    require_enough_classes(self.loss, model, images)
    loss, *numbers = self.settings()
    return maximise_compiled(model, loss, images, labels, *numbers, seeds.key(seed, 0, "random start"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class FGSM:
  """The fast gradient sign method (Eq. 4): one step of size ε from the image itself.

  Attributes:
    epsilon: radius of the ball and size of the step.
    loss: name in `losses.LOSSES`.
  """

  randomised: typing.ClassVar = False  # as in `PGD`

  epsilon: float = 0.3
  loss: str = "xent"

  def __post_init__(self):
    self._as_pgd()

  def _as_pgd(self):
    # α must be above 0; at ε = 0 the ball is a point and any step is projected away.
    return PGD(k=1, epsilon=self.epsilon, alpha=self.epsilon or 1.0, random_start=False, loss=self.loss)

  def __call__(self, model, images, labels, *, seed=0):
    """Returns float32 adversarial images of the shape of `images`; `seed` is not used."""
    return self._as_pgd()(model, images, labels, seed=seed)
