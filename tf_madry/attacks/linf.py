"""The ℓ∞ ball of radius ε around an image, within the pixel range (Eq. 3)."""

import tensorflow as tf

LEVELS = 127  # of a packed perturbation, either side of 0


def ball(images: tf.Tensor, epsilon: tf.Tensor | float) -> tuple[tf.Tensor, tf.Tensor]:
  """The allowed images (Eq. 3), as bounds: every pixel within ε of its own value, and in [0, 1].

  Returns:
    (lower, upper), each of the shape and type of `images`.
  """
  return tf.maximum(images - epsilon, 0.0), tf.minimum(images + epsilon, 1.0)


def random_point(images: tf.Tensor, radius: tf.Tensor | float, key: tf.Tensor,
                 place: tuple[int, int] | None = None) -> tf.Tensor:
  """Moves every pixel by a uniform random number in [-radius, radius] (not yet projected).

  Args:
    images: float32 [n, …].
    radius: of the ball.
    key: see `seeds.key`.
    place: (first, total) where the images are part of a batch of `total`, from number `first` on:
      they move as they do where the batch is whole.
  """
  shape = tf.shape(images)
  if place is None:
    return images + radius * _uniform(shape, key, images.dtype)
  first, total = place
  whole = _uniform(tf.concat([[total], shape[1:]], 0), key, images.dtype)
  return images + radius * whole[first:first + shape[0]]


def _uniform(shape, key, dtype):
  return tf.random.stateless_uniform(shape, key, -1.0, 1.0, dtype)


def project(images: tf.Tensor, bounds: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
  """The nearest point of the ball, Π in Eq. 5."""
  lower, upper = bounds
  return tf.clip_by_value(images, lower, upper)


def pack(perturbation: tf.Tensor) -> tf.Tensor:
  """A perturbation as a byte a pixel, to the nearest 1/127 of the ball's radius; the border is kept
  as it is.

  Args:
    perturbation: float32, in units of the radius, in [-1, 1].

  Returns:
    int8, of the same shape.
  """
  return tf.cast(tf.round(perturbation * LEVELS), tf.int8)


def unpack(packed: tf.Tensor) -> tf.Tensor:
  """The float32 perturbation, in units of the radius, that `pack` packed."""
  return tf.cast(packed, tf.float32) / LEVELS
