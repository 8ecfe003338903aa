"""FGSM (Eq. 4) and projected gradient descent (Eq. 5).

    attack = PGD(k=40, alpha=0.01)
    adversarial = attack(model, images, labels, seed=0)
"""

import dataclasses
from typing import ClassVar

import tensorflow as tf

from tf_madry.attacks import linf
from tf_madry.attacks.base import Cost, Model, Seed, known_labels, prepare, require_enough_classes
from tf_madry.attacks.losses import FEWEST_CLASSES, LOSSES, Loss
from tf_madry.errors import require
from tf_madry.runtime import seeds
from tf_madry.runtime.graphs import acyclic, float32_logits
from tf_madry.settings import check_attack, default_alpha


def maximise(model: Model, images: tf.Tensor, labels: tf.Tensor, key: tf.Tensor, *, loss: Loss,
             k: tf.Tensor, epsilon: tf.Tensor, alpha: tf.Tensor, random_start: bool = True,
             targets: tf.Tensor | None = None,
             place: tuple[int, int] | None = None) -> tf.Tensor:
  """k steps of Eq. 5: the inner maximum of Eq. 6.

  To be called inside a `tf.function` (training does) or as `maximise_compiled`. Numbers are
  tensors, so that one trace serves all of them.

  Args:
    model: maps images to logits.
    images: float32 [batch, height, width, channels] in [0, 1].
    labels: int32 [batch].
    key: int32 [2], see `seeds.key`.
    loss: what to increase, a function of `losses.py`.
    k: number of steps.
    epsilon: radius of the ball, in units of the pixel range.
    alpha: size of a step, in the same units; or [k], a size for each step.
    random_start: whether to begin at a random point of the ball, or at the image.
    targets: int32 [batch], for a targeted loss only.
    place: of the images in the batch that they are a part of, see `linf.random_point`.

  Returns:
    float32 adversarial images, of the shape of `images`.
  """
  bounds = linf.ball(images, epsilon)
  aim = (labels,) if targets is None else (labels, targets)
  x = images
  if random_start:
    x = linf.project(linf.random_point(images, epsilon, key, place), bounds)
  for step_size in tf.broadcast_to(alpha, [k]):
    gradient, *_ = differentiate(model, loss, x, aim)
    x = linf.project(x + step_size * tf.sign(gradient), bounds)
  return x


maximise_compiled = tf.function(maximise, reduce_retracing=True)


@acyclic
def differentiate(model: Model, loss: Loss, images: tf.Tensor,
                  aim: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
  """Evaluates `loss(model(images), *aim)`.

  Returns:
    (gradient, loss, logits): the gradient with respect to the images, zero where they do not reach
    the loss (a model that rounds them, for one) and where it is not finite; the loss [batch]; the
    logits [batch, classes].
  """
  with tf.GradientTape(watch_accessed_variables=False) as tape:
    tape.watch(images)
    logits = float32_logits(model, images)
    objective = loss(logits, *aim)
  gradient = tape.gradient(objective, images, unconnected_gradients=tf.UnconnectedGradients.ZERO)
  # One step along NaN, and the search is nowhere for good.
  return tf.where(tf.math.is_finite(gradient), gradient, 0.0), objective, logits


@dataclasses.dataclass(frozen=True, kw_only=True)
class PGD:
  """Projected gradient descent (Eq. 5), the paper's attack; defaults as in its §6.

  Attributes:
    k: steps κ.
    epsilon: radius of the ball, in units of the pixel range.
    alpha: size of a step, in the same units; None: 2.5 ε/κ.
    random_start: whether to begin at a random point of the ball, or at the image.
    loss: name in `losses.LOSSES`.
  """

  k: int = 8
  epsilon: float = 0.3
  alpha: float | None = None
  random_start: bool = True
  loss: str = "xent"

  def __post_init__(self):
    check_attack(k=self.k, epsilon=self.epsilon, alpha=self.alpha)
    require(self.loss in LOSSES, "loss", self.loss, ", ".join(LOSSES))

  @property
  def step_size(self) -> float:
    """α: as given, or 2.5 ε/κ."""
    return default_alpha(self.k, self.epsilon) if self.alpha is None else self.alpha

  @property
  def randomised(self) -> bool:
    """As in `Attack`."""
    return self.random_start

  @property
  def fewest_classes(self) -> int:
    """As in `Attack`."""
    return FEWEST_CLASSES[self.loss]

  def cost(self, num_classes: int) -> Cost:
    """As in `Attack`."""
    return Cost(self.k, 0)

  def __call__(self, model: Model, images: tf.Tensor, labels: tf.Tensor, *,
               seed: Seed = 0) -> tf.Tensor:
    """As in `Attack`."""
    images, labels = prepare(model, images, labels)
    require_enough_classes(self.loss, model, images)
    epsilon, alpha = tf.unstack(tf.constant([self.epsilon, self.step_size], tf.float32))
    with known_labels():
      return maximise_compiled(model, images, labels, seeds.key(seed, 0, "random start"),
                               loss=LOSSES[self.loss], k=tf.constant(self.k),
                               epsilon=epsilon, alpha=alpha, random_start=self.random_start)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FGSM:
  """The fast gradient sign method (Eq. 4): one step of size ε from the image itself.

  Attributes:
    epsilon: radius of the ball and size of the step.
    loss: name in `losses.LOSSES`.
  """

  randomised: ClassVar[bool] = False

  epsilon: float = 0.3
  loss: str = "xent"

  def __post_init__(self):
    self._as_pgd()

  def _as_pgd(self):
    # α must be above 0; at ε = 0 the ball is a point and any step is projected away.
    return PGD(k=1, epsilon=self.epsilon, alpha=self.epsilon or 1.0, random_start=False,
               loss=self.loss)

  @property
  def fewest_classes(self) -> int:
    """As in `Attack`."""
    return FEWEST_CLASSES[self.loss]

  def cost(self, num_classes: int) -> Cost:
    """As in `Attack`."""
    return Cost(1, 0)

  def __call__(self, model: Model, images: tf.Tensor, labels: tf.Tensor, *,
               seed: Seed = 0) -> tf.Tensor:
    """As in `Attack`; `seed` is not used."""
    return self._as_pgd()(model, images, labels, seed=seed)
