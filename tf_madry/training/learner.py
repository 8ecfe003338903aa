"""The training step of Eq. 6: the inner maximum over the ball, the outer minimum over the weights."""

import dataclasses
import functools
from typing import NamedTuple

import tensorflow as tf

from tf_madry import checkpoints, datasets
from tf_madry.attacks import linf, pgd
from tf_madry.attacks.losses import LOSSES, score, xent
from tf_madry.models import network, thresholds
from tf_madry.runtime import devices, seeds
from tf_madry.runtime.graphs import acyclic
from tf_madry.training.optimizer import Adam, ramp, rate


class StepResult(NamedTuple):
  """What a training step gives: `loss`, `accuracy` (scalars, before the update), the `images` and `labels` trained on.

  Of a batch that is replayed, loss and accuracy are those before the last of its updates.
  """

  loss: tf.Tensor
  accuracy: tf.Tensor
  images: tf.Tensor
  labels: tf.Tensor


class Learner:
  """A model with its optimizer and the two halves of Eq. 6.

  Args:
    config: `Config`.
    dataset: `datasets.Dataset`; its training images stay on the device as bytes.

  Attributes:
    model: the result, a Keras model: where weights are averaged, with the average.
    trained: the model whose weights the optimizer moves; the same one where they are not averaged, and a smaller one where
      they begin as thresholds (see `thresholds.py`).
    craft: a compiled call, from (indices, step) to (adversarial images, labels).
    learn: a compiled call, from (images, labels, step) to a `StepResult`.
    step: both in one compiled call, from (indices, step) to a `StepResult`; of so many batches as `candidates` says.
  """

  def __init__(self, config, dataset):
    self.config, training = config, config.training
    self.image_shape, self.num_classes = dataset.image_shape, dataset.num_classes
    self.attack = pgd.PGD(**dataclasses.asdict(config.attack))

    def build(dtype="float32", initialization=training.initialization):
      return network.build(dataset.image_shape, dataset.num_classes, seed=training.seed, initialization=initialization,
                           epsilon=config.attack.epsilon, dtype=dtype)

    self._narrow = training.initialization == "threshold"
    self.model = build(initialization="he" if self._narrow else training.initialization)
    self.trained = build() if training.averaging or self._narrow else self.model
    for result, weight in zip(self.model.weights, self._as_result(), strict=True):
      result.assign(weight)
    # Forward and backward passes of training use this one; it follows `trained`.
    self._computing = build(training.precision) if training.precision != "float32" else self.trained
    # Adam as TensorFlow 1 had it, where ε is 1e-8 (Keras: 1e-7).
    self.optimizer = Adam(training.learning_rate, epsilon=1e-8, name="adam")
    self.optimizer.build(self.trained.trainable_variables)
    self._images, self._labels = tf.constant(dataset.train.images), tf.constant(dataset.train.labels)
    self._steps = tf.Variable(float(training.steps), trainable=False)
    self._carried = None
    if training.replay:
      start = seeds.key(training.seed, 0, "random start") if config.attack.random_start else None
      self._carried = Carried(dataset.train.images.shape, start)
    compiled = functools.partial(tf.function, jit_compile=devices.has_gpu())
    self.step = compiled(self._replay if training.replay else self._step)
    self.craft = compiled(self._craft)
    self.learn = compiled(self.minimise)
    self._differentiate = acyclic(self._differentiate)

  def take(self, steps):
    """Changes how many steps the run, with its schedules, is to take."""
    self.config = dataclasses.replace(self.config, training=dataclasses.replace(self.config.training, steps=steps))
    self._steps.assign(steps)

  def batch(self, indices):
    """(float32 images, labels) of training examples by number."""
    return datasets.as_float(tf.gather(self._images, indices)), tf.gather(self._labels, indices)

  def _done(self, step, number=0):
    """The share of the run that has been done, before a step of the attack by number."""
    part = tf.cast(number, tf.float32) / self.config.attack.k
    return (tf.cast(step, tf.float32) + part) / self._steps

  def _part_of_epsilon(self, done):
    """The radius of the ball that is trained in, in units of ε."""
    return self.config.training.margin * ramp(self.config.training.ramp, done)

  def _follow(self):
    """Gives the computing model the trained weights."""
    if self._computing is not self.trained:
      for ours, theirs in zip(self._computing.weights, self.trained.weights, strict=True):
        ours.assign(tf.cast(theirs, ours.dtype))

  def maximise(self, images, labels, step):
    """The inner maximum of Eq. 6 for the current weights; the images themselves in natural training."""
    if not self.config.training.adversarial:
      return images
    self._follow()
    key = seeds.key(self.config.training.seed, step, "random start")
    attack, part = self.attack, self._part_of_epsilon(self._done(step))
    epsilon, alpha = tf.unstack(part * tf.constant([attack.epsilon, attack.step_size], tf.float32))
    return pgd.maximise(self._computing, images, labels, key, loss=LOSSES[attack.loss], k=tf.constant(attack.k),
                        epsilon=epsilon, alpha=alpha, random_start=attack.random_start)

  def minimise(self, images, labels, step):
    """The outer minimum of Eq. 6: one step of Adam on the given images."""
    self._follow()
    result, gradients = self._differentiate(images, labels)
    self._update(gradients, self._done(step))
    self._average(step)
    return result

  def _differentiate(self, images, labels):
    """(`StepResult`, gradients with respect to images and weights) of the training loss."""
    weights = self._computing.trainable_variables
    with tf.GradientTape() as tape:
      tape.watch(images)
      logits = self._computing(images, training=True)
      losses = xent(logits, labels)
      mean = self.config.training.reduction == "mean"
      objective = tf.reduce_mean(losses) if mean else tf.reduce_sum(losses)
    gradients = tape.gradient(objective, [images, *(weight.value for weight in weights)])
    accuracy = tf.reduce_mean(tf.cast(tf.argmax(logits, -1, tf.int32) == labels, tf.float32))
    return StepResult(tf.reduce_mean(losses), accuracy, images, labels), gradients

  def _update(self, gradients, done):
    training = self.config.training
    self.optimizer.learning_rate.assign(rate(training.schedule, training.learning_rate, done))
    gradients = (tf.cast(gradient, tf.float32) for gradient in gradients[1:])
    self.optimizer.apply_gradients(zip(gradients, self.trained.trainable_variables, strict=True))

  def _average(self, step):
    if self.model is self.trained:
      return
    # While there is little to average over, what is older counts for less: nothing is left of the initial weights.
    done = tf.cast(step, tf.float32)
    decay = tf.minimum(self.config.training.averaging, (1 + done) / (10 + done))
    for average, weight in zip(self.model.weights, self._as_result(), strict=True):
      average.assign(decay * average + (1 - decay) * weight)

  def _as_result(self):
    """The trained weights as those of the result."""
    weights = self.trained.weights
    return thresholds.widen(weights, [weight.shape for weight in self.model.weights]) if self._narrow else weights

  def _craft(self, indices, step):
    images, labels = self.batch(indices)
    return self.maximise(images, labels, step), labels

  def _step(self, indices, step):
    return self.minimise(*self._craft(indices, step), step)

  def _replay(self, indices, step):
    """κ steps of the attack on one batch, and from the same backward passes updates of the weights (Shafahi et al. 2019).

    The first steps may go without: an update against an attack that has hardly begun is worth less than it costs. Every
    example's perturbation goes on from where it was when the example last came (Zheng et al. 2020).
    """
    self._follow()
    indices = self._hardest(indices)
    images, labels = self.batch(indices)
    perturbation = self._carried.get(indices)  # in units of the ball's radius, which may rise
    number = tf.constant(0)
    while number < self._lead:
      adversarial = self._perturbed(images, perturbation, self._done(step, number))
      gradient, *_ = pgd.differentiate(self._computing, xent, adversarial, (labels,))
      perturbation = self._further(perturbation, gradient)
      number += 1
    loss = accuracy = tf.constant(0.0)
    adversarial = images
    while number < self.config.attack.k:
      done = self._done(step, number)
      adversarial = self._perturbed(images, perturbation, done)
      self._follow()
      (loss, accuracy, *_), gradients = self._differentiate(adversarial, labels)
      self._update(gradients, done)
      perturbation = self._further(perturbation, gradients[0])
      number += 1
    self._carried.put(indices, perturbation)
    self._average(step)
    return StepResult(loss, accuracy, adversarial, labels)

  def _perturbed(self, images, perturbation, done):
    epsilon = self.config.attack.epsilon * self._part_of_epsilon(done)
    return linf.project(images + epsilon * perturbation, linf.ball(images, epsilon))

  def _further(self, perturbation, gradient):
    # Within the ball, but not within the pixel range, where only the images are kept: no better, and no worse.
    return tf.clip_by_value(perturbation + self._stride * tf.sign(gradient), -1.0, 1.0)

  def _hardest(self, indices):
    """A batch of the examples whose natural images have the highest loss, of all those that were drawn for it.

    What the network is sure of already hardly moves the weights, attacked or not, and costs as much as any other example.
    To choose takes a forward pass of what is drawn (Jiang et al. 2019).
    """
    if self.config.training.candidates == 1:
      return indices
    images, labels = self.batch(indices)
    hardest = tf.math.top_k(xent(self._computing(images), labels), self.config.training.batch_size).indices
    return tf.gather(indices, hardest)

  @property
  def _lead(self):
    """Steps of the attack before the first that updates the weights; one always does."""
    return min(self.config.training.lead, self.config.attack.k - 1)

  @property
  def _stride(self):
    attack = self.config.attack
    return attack.step_size / attack.epsilon if attack.epsilon else 0.0

  @property
  def computes_apart(self):
    """Whether steps compute with another model than the result: with weights that are not averaged, or in bfloat16."""
    return self._computing is not self.model

  def rescore(self, result):
    """A `StepResult` with loss and accuracy of the result, in float32, on the images that were just trained on."""
    right, losses = score(self.model, result.images, result.labels)
    return result._replace(loss=tf.reduce_mean(losses), accuracy=tf.reduce_mean(tf.cast(right, tf.float32)))

  def variables(self):
    """{name: variable} of everything that a checkpoint has to hold."""
    found = checkpoints.variables_of(self.model, "model") | checkpoints.variables_of(self.optimizer, "optimizer")
    if self.trained is not self.model:
      found |= checkpoints.variables_of(self.trained, "trained")
    if self._carried:
      found["carried"] = self._carried.packed
    return found


class Carried:
  """A perturbation for each training image, carried from epoch to epoch.

  A byte a pixel: the size of the training set (MNIST: 43 MB), in memory and in each checkpoint.

  Args:
    shape: of the training images, (n, height, width, channels).
    key: of the random points of the ball that they begin at (see `seeds.key`); None: its centre.
  """

  def __init__(self, shape, key=None):
    self.packed = tf.Variable(tf.zeros(shape, tf.int8))
    if key is not None:
      random = tf.random.stateless_uniform(shape, key, -linf.LEVELS, linf.LEVELS + 1, tf.int32)
      self.packed.assign(tf.cast(random, tf.int8))

  def get(self, indices):
    """Those of some examples, in units of the ball's radius: float32 [batch, height, width, channels] in [-1, 1]."""
    return linf.unpack(tf.gather(self.packed, indices))

  def put(self, indices, perturbation):
    """Keeps those of some examples; of one that comes twice, as may be at the border of two epochs, either of the two."""
    self.packed.scatter_update(tf.IndexedSlices(linf.pack(perturbation), indices))
