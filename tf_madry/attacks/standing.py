"""Attacking only what still stands: several tries at the same images, and restarts around any attack."""

import dataclasses
import functools

import tensorflow as tf

from tf_madry import seeds
from tf_madry.attacks.losses import FEWEST_CLASSES, require_classes, xent
from tf_madry.errors import require


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


@tf.function(reduce_retracing=True)
def outcome(model, images, labels):
  """(whether the model is wrong, cross-entropy), each [batch]."""
  logits = model(images)
  return tf.argmax(logits, -1, tf.int32) != labels, xent(logits, labels)


def in_turn(model, images, labels, tries):
  """Tries one thing after another, each only on the images that the model is still right about.

  Of every example the first image that the model gets wrong is kept, the given one included; of an example that stands
  to the end, the image with the highest cross-entropy.

  Args:
    model: maps images to logits.
    images: float32 [batch, height, width, channels] in [0, 1].
    labels: int32 [batch].
    tries: iterable of functions from (images, labels) of what stands to adversarial images; used up only as far as
      something stands.

  Returns:
    Images, of the shape and type of `images`.
  """
  images, labels = prepare(images, labels)
  best = images
  fooled, highest = outcome(model, images, labels)
  standing = tf.where(~fooled)
  for attempt in tries:
    if tf.size(standing) == 0:
      break
    right = tf.gather_nd(labels, standing)
    tried = attempt(tf.gather_nd(images, standing), right)
    fooled, loss = outcome(model, tried, right)
    # A success outbids every loss seen so far, so that it is kept however low its own cross-entropy.
    better = fooled | (loss > tf.gather_nd(highest, standing))
    best = tf.tensor_scatter_nd_update(best, standing[better], tried[better])
    highest = tf.tensor_scatter_nd_update(highest, standing[better], loss[better])
    standing = standing[~fooled]
  return best


@dataclasses.dataclass(frozen=True, kw_only=True)
class Restarts:
  """Runs a randomised attack several times, as `in_turn` does.

  Attributes:
    attack: the attack to repeat.
    restarts: how often it runs at the most.
  """

  attack: object
  restarts: int

  def __post_init__(self):
    require(self.restarts >= 1, "restarts", self.restarts, "a whole number, at least 1")

  def __call__(self, model, images, labels, *, seed=0):
    """Returns adversarial images of the shape and type of `images`."""
    return in_turn(model, images, labels,
                   (functools.partial(self.attack, model, seed=seeds.key(seed, restart, "restart"))
                    for restart in range(self.restarts)))
