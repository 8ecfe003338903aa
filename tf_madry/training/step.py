"""Adversarial training (Eq. 6): the inner maximum over the ball, the outer minimum over weights."""

import numpy as np
import tensorflow as tf

from tf_madry.attacks import pgd
from tf_madry.attacks.losses import LOSSES
from tf_madry.checkpoints import Checkpoint
from tf_madry.runtime import seeds
from tf_madry.runtime.graphs import compiled
from tf_madry.training.learner import Learner
from tf_madry.training.stepper import Part, StepResult


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
    result, gradients = self.gradients(indices, step)
    self.update(gradients, step)
    return result

  def phase(self, step: tf.Tensor) -> None:
    """All steps are alike."""

  def gradients(self, indices: tf.Tensor, step: tf.Tensor, phase: None = None,
                part: Part | None = None) -> tuple[StepResult, list[tf.Tensor]]:
    """As in `DivisibleStep`."""
    images, labels = self._craft(indices, step, part)
    result, _, gradients = self._learner.differentiate(images, labels)
    return result, gradients

  def update(self, gradients: list[tf.Tensor], step: tf.Tensor) -> None:
    """As in `DivisibleStep`: a step of Adam."""
    self._learner.update(gradients, self._learner.schedule.done(step))
    self._learner.average(step)

  def _craft(self, indices, step, part=None):
    self._learner.copies.follow()
    images, labels = self._learner.moved(part.of(indices) if part else indices, step, part)
    return self._maximise(images, labels, step, part), labels

  def _learn(self, images, labels, step):
    self._learner.copies.follow()
    result, _, gradients = self._learner.differentiate(images, labels)
    self.update(gradients, step)
    return result

  def _maximise(self, images, labels, step, part):
    """x + δ: the adversarial images for the current weights (Eq. 5)."""
    learner = self._learner
    training, attack = learner.config.training, learner.config.attack
    if not training.adversarial:
      return images
    ramp = learner.schedule.part_of_epsilon(learner.schedule.done(step))
    epsilon, alpha = tf.unstack(ramp * tf.constant([attack.epsilon, attack.step_size], tf.float32))
    key = seeds.key(training.seed, step, "random start")
    return pgd.maximise(learner.copies.computing, images, labels, key, loss=LOSSES[attack.loss],
                        k=tf.constant(attack.k), epsilon=epsilon, alpha=alpha,
                        random_start=attack.random_start,
                        place=part and (part.first, part.total))

  def report(self, result: StepResult) -> dict[str, object]:
    """Nothing besides what every run logs."""
    return {}

  def arrays(self) -> dict[str, np.ndarray]:
    """Nothing: all that lasts are the learner's variables."""
    return {}

  def restore(self, checkpoint: Checkpoint) -> None:
    """Nothing to do."""
