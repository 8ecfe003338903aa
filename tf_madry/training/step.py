"""Adversarial training (Eq. 6): the inner maximum over the ball, the outer minimum over weights."""

import numpy as np
import tensorflow as tf

from tf_madry.attacks import pgd
from tf_madry.attacks.losses import LOSSES
from tf_madry.checkpoints import Checkpoint
from tf_madry.runtime import seeds
from tf_madry.runtime.graphs import compiled
from tf_madry.training.learner import Learner
from tf_madry.training.stepper import StepResult


class AdversarialStep:
  """A step of  min over θ of E over (x, y) of  max over δ in the ball of  L(θ, x + δ, y)  (Eq. 6).

  In natural training there is no ball, and Eq. 1 is left.

  Attributes:
    run: the whole step, see `stepper.Step`.
    craft: its first half alone, from (indices, step) to (adversarial images, labels), for batches
      that wait in a queue (§5).
    learn: its second half alone, from (images, labels, step) to a `StepResult`.
  """

  def __init__(self, learner: Learner):
    self._learner = learner
    self.run, self.craft, self.learn = map(compiled, (self._run, self._craft, self._learn))

  def _run(self, indices, step):
    images, labels = self._craft(indices, step)
    return self._minimise(images, labels, step)

  def _craft(self, indices, step):
    self._learner.copies.follow()
    images, labels = self._learner.batch(indices)
    return self._maximise(images, labels, step), labels

  def _learn(self, images, labels, step):
    self._learner.copies.follow()
    return self._minimise(images, labels, step)

  def _maximise(self, images, labels, step):
    """x + δ: the adversarial images for the current weights (Eq. 5)."""
    learner = self._learner
    training, attack = learner.config.training, learner.config.attack
    if not training.adversarial:
      return images
    part = learner.schedule.part_of_epsilon(learner.schedule.done(step))
    epsilon, alpha = tf.unstack(part * tf.constant([attack.epsilon, attack.step_size], tf.float32))
    key = seeds.key(training.seed, step, "random start")
    return pgd.maximise(learner.copies.computing, images, labels, key, loss=LOSSES[attack.loss],
                        k=tf.constant(attack.k), epsilon=epsilon, alpha=alpha,
                        random_start=attack.random_start)

  def _minimise(self, images, labels, step):
    """One step of Adam against the gradient of the loss on these images."""
    learner = self._learner
    result, _, gradients = learner.differentiate(images, labels)
    learner.update(gradients, learner.schedule.done(step))
    learner.copies.average(step)
    return result

  def report(self, result: StepResult) -> dict[str, object]:
    """Nothing besides what every run logs."""
    return {}

  def arrays(self) -> dict[str, np.ndarray]:
    """Nothing: all that lasts are the learner's variables."""
    return {}

  def restore(self, checkpoint: Checkpoint) -> None:
    """Nothing to do."""
