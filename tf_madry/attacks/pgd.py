"""FGSM (Eq. 4), projected gradient descent (Eq. 5), and restarts around any attack.

    attack = PGD(k=40, alpha=0.01)
    adversarial = attack(model, images, labels, seed=0)
"""

import dataclasses

import tensorflow as tf

from tf_madry import seeds
from tf_madry.attacks import linf
from tf_madry.attacks.losses import LOSSES, xent
from tf_madry.config import AttackConfig
from tf_madry.errors import require


def maximise(model, loss, images, labels, k, epsilon, alpha, radius, key):
  """k steps of Eq. 5 from a random point within `radius`: the inner maximum of Eq. 6.

  The body of every gradient attack here; to be called inside a `tf.function` (training does) or as `maximise_compiled`.

  Args:
    model: maps images to logits.
    loss: a function of `losses.py`.
    images: float32 [batch, height, width, channels] in [0, 1].
    labels: int32 [batch].
    k, epsilon, alpha, radius: scalar tensors: steps; radius of the ball, step and random start in units of the pixel
      range.
    key: int32 [2], see `seeds.key`.

  Returns:
    Adversarial images, of the shape and type of `images`.
  """
  bounds = linf.ball(images, epsilon)
  x = linf.project(linf.random_point(images, radius, key), bounds)
  for _ in tf.range(k):
    with tf.GradientTape() as tape:
      tape.watch(x)
      objective = loss(model(x), labels)
    x = linf.project(x + alpha * tf.sign(tape.gradient(objective, x)), bounds)
  return x


maximise_compiled = tf.function(maximise, reduce_retracing=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PGD(AttackConfig):
  """Projected gradient descent (Eq. 5), the paper's attack; its settings are those of `AttackConfig`."""

  def settings(self):
    """The arguments (loss, k, epsilon, alpha, radius) of `maximise`: tensors, so that one trace serves all values."""
    radius = self.epsilon if self.random_start else 0.0
    numbers = tf.constant([self.epsilon, self.step_size, radius], tf.float32)
    return LOSSES[self.loss], tf.constant(self.k), *tf.unstack(numbers)

  def __call__(self, model, images, labels, *, seed=0):
    """Returns adversarial images of the shape and type of `images`; `seed` as in `seeds.key`."""
    loss, *numbers = self.settings()
    key = seeds.key(seed, 0, "random start")
    return maximise_compiled(model, loss, tf.convert_to_tensor(images), tf.convert_to_tensor(labels), *numbers, key)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FGSM:
  """The fast gradient sign method (Eq. 4): one step of size ε from the image itself.

  Attributes:
    epsilon: radius of the ball and size of the step.
    loss: name in `losses.LOSSES`.
  """

  epsilon: float = 0.3
  loss: str = "xent"

  def __post_init__(self):
    self._as_pgd()

  def _as_pgd(self):
    # α must be above 0; at ε = 0 the ball is a point and any step is projected away.
    return PGD(k=1, epsilon=self.epsilon, alpha=self.epsilon or 1.0, random_start=False, loss=self.loss)

  def __call__(self, model, images, labels, *, seed=0):
    """Returns adversarial images of the shape and type of `images`; `seed` is not used."""
    return self._as_pgd()(model, images, labels, seed=seed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Restarts:
  """Runs a randomised attack several times, each time only on what still stands.

  Of every example the first success is kept; of one that stands to the end, the try with the highest cross-entropy.

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
    images, labels = tf.convert_to_tensor(images), tf.convert_to_tensor(labels)
    best = images
    highest = tf.fill(tf.shape(labels), -float("inf"))
    standing = tf.range(tf.shape(labels)[0])
    for restart in range(self.restarts):
      tried = self.attack(model, tf.gather(images, standing), tf.gather(labels, standing),
                          seed=seeds.key(seed, restart, "restart"))
      fooled, loss = _outcome(model, tried, tf.gather(labels, standing))
      # A success outbids every loss seen so far, so that it is kept however low its own cross-entropy.
      better = tf.logical_or(fooled, loss > tf.gather(highest, standing))
      rows = tf.boolean_mask(standing, better)[:, tf.newaxis]
      best = tf.tensor_scatter_nd_update(best, rows, tf.boolean_mask(tried, better))
      highest = tf.tensor_scatter_nd_update(highest, rows, tf.boolean_mask(loss, better))
      standing = tf.boolean_mask(standing, tf.logical_not(fooled))
      if tf.size(standing) == 0:
        break
    return best


@tf.function(reduce_retracing=True)
def _outcome(model, images, labels):
  """(whether the model is wrong, cross-entropy), each [batch]."""
  logits = model(images)
  return tf.argmax(logits, -1, tf.int32) != labels, xent(logits, labels)
