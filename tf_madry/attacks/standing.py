"""Attacking only what still stands: several tries at the same images, and restarts around any attack."""

import dataclasses
import functools

import tensorflow as tf

from tf_madry.attacks.losses import FEWEST_CLASSES, require_classes, xent
from tf_madry.errors import require
from tf_madry.runtime import numerics, seeds


def prepare(images, labels):
  """The arguments of an attack as float32 and int32 tensors.

  Raises:
    UserError: pixels outside [0, 1], or not one label an image.
  """
  images, labels = tf.cast(images, tf.float32), tf.cast(labels, tf.int32)
  require(labels.shape == images.shape[:1], "shape of labels", tuple(labels.shape), f"{tuple(images.shape[:1])}")
  if tf.size(images) > 0:
    low, high = float(tf.reduce_min(images)), float(tf.reduce_max(images))
    require(low >= 0 and high <= 1, "range of pixels", (low, high), "numbers from 0 to 1")
  return images, labels


def num_classes(model, images):
  """How many logits the model has."""
  return model(images[:1]).shape[-1]


def require_enough_classes(loss, model, images):
  """As `require_classes`; asks the model, which takes time, only where the loss is particular."""
  if loss in FEWEST_CLASSES:
    require_classes(loss, num_classes(model, images))


@numerics.float32()
@tf.function(reduce_retracing=True)
def score(model, images, labels):
  """(whether the model is right, cross-entropy) of every example, each [batch]."""
  logits = model(images)
  return tf.argmax(logits, -1, tf.int32) == labels, xent(logits, labels)


def in_turn(model, images, labels, tries):
  """Tries one thing after another: the first on all images, the others only where the model is still right.

  Of every example the first try that the model gets wrong is kept; of one that stands to the end, the image with the
  highest cross-entropy. An image that the model gets wrong as it is would need no try, were the model not, at times, only
  the source of an attack on another one: the try is kept if the model is wrong with a higher cross-entropy.

  Args:
    model: maps images to logits.
    images: float32 [batch, height, width, channels] in [0, 1].
    labels: int32 [batch].
    tries: iterable of functions from (images, labels) to adversarial images; used up only as far as something stands.

  Returns:
    float32 images, of the shape of `images`.
  """
  images, labels = prepare(images, labels)
  best = images
  right, highest = score(model, images, labels)
  rows = tf.where(tf.ones_like(right))
  for attempt in tries:
    if tf.size(rows) == 0:
      break
    aim = tf.gather_nd(labels, rows)
    tried = attempt(tf.gather_nd(images, rows), aim)
    stands, loss = score(model, tried, aim)
    stood, higher = tf.gather_nd(right, rows), loss > tf.gather_nd(highest, rows)
    # A first success outbids every loss seen so far, so that it is kept however low its own cross-entropy.
    better = tf.where(stood, ~stands | higher, ~stands & higher)
    best = tf.tensor_scatter_nd_update(best, rows[better], tried[better])
    highest = tf.tensor_scatter_nd_update(highest, rows[better], loss[better])
    rows = rows[stood & stands]
  return best


@dataclasses.dataclass(frozen=True, kw_only=True)
class Restarts:
  """Runs a randomised attack several times, as `in_turn` does. The first time is the attack as it is without restarts.

  Attributes:
    attack: the attack to repeat; one whose `randomised` is False is refused.
    restarts: how often it runs at the most.
  """

  attack: object
  restarts: int

  def __post_init__(self):
    require(self.restarts >= 1, "restarts", self.restarts, "a whole number, at least 1")
    require(self.restarts == 1 or getattr(self.attack, "randomised", True), "restarts", self.restarts,
            f"1 for {self.attack}, which does the same every time")

  @property
  def epsilon(self):
    """Radius of the ball."""
    return self.attack.epsilon

  def __call__(self, model, images, labels, *, seed=0, target=None):
    """Returns float32 adversarial images of the shape of `images`.

    Args:
      model, images, labels, seed: as for `attack`.
      target: the model that is to be wrong in the end, where `model` is only the source of a black-box attack.
    """
    return in_turn(target or model, images, labels,
                   (functools.partial(self.attack, model, seed=seeds.key(seed, restart, "restart") if restart else seed)
                    for restart in range(self.restarts)))
