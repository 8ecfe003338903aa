"""Recipe `fast`: each backward pass serves the attack and the weights (Shafahi et al. 2019)."""

import numpy as np
import tensorflow as tf

from tf_madry import checkpoints
from tf_madry.attacks import linf, pgd
from tf_madry.attacks.losses import xent
from tf_madry.runtime import seeds
from tf_madry.runtime.graphs import compiled
from tf_madry.training.learner import Learner
from tf_madry.training.stepper import StepResult


class ReplayStep:
  """κ steps of the attack on one batch, and from the same backward passes updates of the weights.

  The first `lead` of them go without: an update against an attack that has hardly begun is worth
  less than it costs. Every example's perturbation goes on from where it was when the example last
  came (Zheng et al. 2020), wherever the example has moved. The batch is made of the hardest
  examples of all `candidates`.

  Attributes:
    run: see `stepper.Step`; the indices are those of all candidates.
  """

  def __init__(self, learner: Learner):
    self._learner = learner
    training, attack = learner.config.training, learner.config.attack
    self._k, self._epsilon = attack.k, attack.epsilon
    self._batch_size, self._candidates = training.batch_size, training.candidates
    self._lead = min(training.lead, attack.k - 1)  # one step always updates
    self._stride = attack.step_size / attack.epsilon if attack.epsilon else 0.0  # α in units of ε
    start = seeds.key(training.seed, 0, "random start") if attack.random_start else None
    self._carried = Carried((learner.num_examples, *learner.image_shape), start)
    self.run = compiled(self._run)

  def _run(self, indices, step):
    learner = self._learner
    learner.copies.follow()
    indices = self._hardest(indices)
    images, labels = learner.moved(indices, step)
    # In units of the ball's radius, which may rise.
    perturbation = learner.move(self._carried.get(indices), step)
    number = tf.constant(0)
    while number < self._lead:
      adversarial = self._perturbed(images, perturbation, self._done(step, number))
      gradient, *_ = pgd.differentiate(learner.copies.computing, xent, adversarial, (labels,))
      perturbation = self._further(perturbation, gradient)
      number += 1
    loss = accuracy = tf.constant(0.0)
    adversarial = images
    while number < self._k:
      done = self._done(step, number)
      adversarial = self._perturbed(images, perturbation, done)
      learner.copies.follow()
      (loss, accuracy, *_), gradient, gradients = learner.differentiate(adversarial, labels)
      learner.update(gradients, done)
      perturbation = self._further(perturbation, gradient)
      number += 1
    self._carried.put(indices, learner.move(perturbation, step, back=True))
    learner.average(step)
    return StepResult(loss, accuracy, adversarial, labels)

  def _hardest(self, indices):
    """The batch of those, of all that were drawn, whose natural images have the highest loss.

    What the network is sure of already hardly moves the weights, attacked or not, and costs as much
    as any other example. To choose takes a forward pass of what is drawn (Jiang et al. 2019).
    """
    if self._candidates == 1:
      return indices
    images, labels = self._learner.batch(indices)
    losses = xent(self._learner.copies.computing(images), labels)
    return tf.gather(indices, tf.math.top_k(losses, self._batch_size).indices)

  def _done(self, step, number):
    return self._learner.schedule.done(step, tf.cast(number, tf.float32) / self._k)

  def _perturbed(self, images, perturbation, done):
    radius = self._epsilon * self._learner.schedule.part_of_epsilon(done)
    return linf.project(images + radius * perturbation, linf.ball(images, radius))

  def _further(self, perturbation, gradient):
    # Within the ball, but not within the pixel range, where only the images are kept: no better,
    # and no worse.
    return tf.clip_by_value(perturbation + self._stride * tf.sign(gradient), -1.0, 1.0)

  def report(self, result: StepResult) -> dict[str, object]:
    """Nothing besides what every run logs."""
    return {}

  def arrays(self) -> dict[str, np.ndarray]:
    """The carried perturbations."""
    return {"carried": self._carried.packed.numpy()}

  def restore(self, checkpoint: checkpoints.Checkpoint) -> None:
    """Goes on with those of a checkpoint; `UserError` if they are not of these examples."""
    checkpoints.restore({"carried": self._carried.packed}, checkpoint)


class Carried:
  """A perturbation for each training image, carried from epoch to epoch.

  A byte a pixel: the size of the training set (MNIST: 43 MB), in memory and in each checkpoint.

  Args:
    shape: of the training images, (n, height, width, channels).
    key: of the random points of the ball that they begin at (see `seeds.key`); None: its centre.
  """

  def __init__(self, shape: tuple[int, ...], key: tf.Tensor | None = None):
    self.packed = tf.Variable(tf.zeros(shape, tf.int8))
    if key is not None:
      random = tf.random.stateless_uniform(shape, key, -linf.LEVELS, linf.LEVELS + 1, tf.int32)
      self.packed.assign(tf.cast(random, tf.int8))

  def get(self, indices: tf.Tensor) -> tf.Tensor:
    """Those of some examples, in units of the radius: float32 in [-1, 1], of the images' shape."""
    return linf.unpack(tf.gather(self.packed, indices))

  def put(self, indices: tf.Tensor, perturbation: tf.Tensor) -> None:
    """Keeps those of some examples; of one that comes twice, across two epochs, either of the two."""
    self.packed.scatter_update(tf.IndexedSlices(linf.pack(perturbation), indices))
