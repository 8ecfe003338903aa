"""Which images are adversarial: what an attack returns counts only after it was looked at here."""

import numpy as np
import tensorflow as tf

from tf_madry.attacks.base import Model
from tf_madry.runtime import numerics
from tf_madry.runtime.graphs import float32_logits

TOLERANCE = 1e-6  # beyond ε, for the rounding of float32


def allowed(natural: np.ndarray, found: np.ndarray, epsilon: float) -> np.ndarray:
  """Which images an attack may return: every pixel within ε of the natural one, and in [0, 1].

  Args:
    natural, found: float32 [batch, height, width, channels].
    epsilon: radius of the ball.

  Returns:
    bool [batch].
  """
  # In float64: the difference of two float32 numbers would be rounded again.
  distance = np.abs(found.astype(np.float64) - natural).max((1, 2, 3))
  return (distance <= epsilon + TOLERANCE) & (found >= 0).all((1, 2,
                                                               3)) & (found <= 1).all((1, 2, 3))


def is_adversarial(model: Model, natural: np.ndarray, found: np.ndarray, labels: np.ndarray,
                   epsilon: float) -> np.ndarray:
  """Which images are adversarial: allowed, and not taken for what they are.

  Args:
    model: maps float32 images to logits.
    natural, found, epsilon: as for `allowed`.
    labels: int32 [batch].

  Returns:
    bool [batch].
  """
  return allowed(natural, found, epsilon) & (predict(model, found, len(found)) != labels)


def predict(model: Model, images: np.ndarray, batch_size: int) -> np.ndarray:
  """The class that a model takes each image for.

  Args:
    model: maps images to logits.
    images: float32 [n, height, width, channels].
    batch_size: examples at a time.

  Returns:
    int32 [n].
  """
  return np.concatenate([_classify(model, tf.constant(images[start:start + batch_size])).numpy()
                         for start in range(0, len(images), batch_size)])


@numerics.float32()
@tf.function(reduce_retracing=True)
def _classify(model, images):
  return tf.argmax(float32_logits(model, images), -1, tf.int32)
