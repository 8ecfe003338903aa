"""Accuracy and loss of a model, natural and under attack."""

import dataclasses
import math
import time

import numpy as np
import tensorflow as tf

from tf_madry import datasets
from tf_madry.attacks.standing import Restarts, score
from tf_madry.runtime import numerics, seeds

TOLERANCE = 1e-6  # beyond ε, for the rounding of float32


@dataclasses.dataclass(frozen=True)
class Result:
  """What was measured on n examples. Accuracies are in [0, 1], losses mean cross-entropies, intervals 95 % (Wilson).

  An example counts as right under attack only if the model is right on the natural image too: that image lies in the
  ball, so an attack that makes the model right by accident has not shown it to be robust. Of an attack that leaves the
  ball or the pixel range, or returns what is not finite, the natural image counts.
  """

  attack: str
  n: int
  natural_accuracy: float
  natural_interval: tuple
  natural_loss: float
  adversarial_accuracy: float
  adversarial_interval: tuple
  adversarial_loss: float
  seconds: float


def measure(model, attack, split, *, source=None, batch_size=200, seed=0, on_batch=None, adversarial=None,
            right=None):
  """Runs an attack on every example of a split and counts what stands.

  Args:
    model: maps float32 images to logits.
    attack: called as `attack(model, images, labels, seed=…)`; its `epsilon` is the radius of the ball.
    split: `datasets.Split`.
    source: the model to attack, when it is not the one that is measured (black-box, transfer). Restarts attack it as
      long as the one that is measured stands.
    batch_size: examples at a time; the challenge's is 200. The random starts depend on it.
    seed: of the attack.
    on_batch: called with (examples done, natural accuracy so far, adversarial accuracy so far).
    adversarial: float32 array [n, height, width, channels] to fill with the images that were counted: the attack's, or
      the natural one where only that is wrong or allowed.
    right: bool array [n] to fill with whether each example counted as right under attack.

  Returns:
    `Result`.
  """
  began = time.monotonic()
  natural_right, adversarial_right, natural_loss, adversarial_loss = [], [], [], []
  judged = {"target": model} if isinstance(attack, Restarts) else {}
  for start in range(0, len(split), batch_size):
    images = tf.constant(datasets.as_float(split.images[start:start + batch_size]))
    labels = tf.constant(split.labels[start:start + batch_size])
    attacked = attack(source or model, images, labels, seed=seeds.key(seed, start, "evaluation"), **judged)
    inside = allowed(images.numpy(), attacked.numpy(), attack.epsilon)
    attacked = tf.where(inside[:, np.newaxis, np.newaxis, np.newaxis], attacked, images)
    natural, loss = score(model, images, labels)
    right_under_attack, loss_under_attack = score(model, attacked, labels)
    natural_right.append(natural.numpy())
    natural_loss.append(loss.numpy())
    adversarial_right.append(natural.numpy() & right_under_attack.numpy())
    adversarial_loss.append(loss_under_attack.numpy())
    if adversarial is not None:
      by_accident = (~natural & right_under_attack).numpy()[:, np.newaxis, np.newaxis, np.newaxis]
      adversarial[start:start + len(labels)] = np.where(by_accident, images, attacked)
    if right is not None:
      right[start:start + len(labels)] = adversarial_right[-1]
    if on_batch:
      on_batch(start + len(labels), _mean(natural_right), _mean(adversarial_right))
  n, natural, attacked = len(split), _mean(natural_right), _mean(adversarial_right)
  return Result(repr(attack), n, natural, wilson(natural, n), _mean(natural_loss), attacked, wilson(attacked, n),
                _mean(adversarial_loss), time.monotonic() - began)


def allowed(natural, found, epsilon):
  """Which images an attack may return: every pixel within ε of the natural one, and in [0, 1].

  Args:
    natural, found: float32 arrays [batch, height, width, channels].
    epsilon: radius of the ball.

  Returns:
    bool array [batch].
  """
  # In float64: the difference of two float32 numbers would be rounded again.
  distance = np.abs(found.astype(np.float64) - natural).max((1, 2, 3))
  return (distance <= epsilon + TOLERANCE) & (found >= 0).all((1, 2, 3)) & (found <= 1).all((1, 2, 3))


@numerics.float32()
@tf.function(reduce_retracing=True)
def _classify(model, images):
  return tf.argmax(model(images), -1, tf.int32)


def predict(model, images, batch_size):
  """The class that a model takes each image for.

  Args:
    model: maps images to logits.
    images: float32 array [n, height, width, channels].
    batch_size: examples at a time.

  Returns:
    int32 array [n].
  """
  return np.concatenate([_classify(model, tf.constant(images[start:start + batch_size])).numpy()
                         for start in range(0, len(images), batch_size)])


def _mean(parts):
  return float(np.concatenate(parts).mean(dtype=np.float64))


def wilson(accuracy, n, z=1.959964):
  """The 95 % interval of a proportion that was measured on n examples (Wilson 1927).

  Returns:
    (low, high), both in [0, 1].
  """
  centre = (accuracy + z * z / (2 * n)) / (1 + z * z / n)
  half = z * math.sqrt(accuracy * (1 - accuracy) / n + z * z / (4 * n * n)) / (1 + z * z / n)
  # Accuracies of 0 and 1 are ends of their intervals, which rounding can put a hair inside.
  return max(0.0, min(accuracy, centre - half)), min(1.0, max(accuracy, centre + half))
