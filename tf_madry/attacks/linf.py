"""The ℓ∞ ball of radius ε around an image, within the pixel range (Eq. 3)."""

import tensorflow as tf


def ball(images, epsilon):
  """The allowed images (Eq. 3), as bounds: every pixel within ε of its own value, and in [0, 1].

  Returns:
    (lower, upper), each of the shape and type of `images`.
  """
  return tf.maximum(images - epsilon, 0.0), tf.minimum(images + epsilon, 1.0)


def random_point(images, radius, key):
  """Moves every pixel by a uniform random number in [-radius, radius] (not yet projected)."""
  return images + radius * tf.random.stateless_uniform(tf.shape(images), key, -1.0, 1.0, images.dtype)


def project(images, bounds):
  """The nearest point of the ball, Π in Eq. 5."""
  lower, upper = bounds
  return tf.clip_by_value(images, lower, upper)
