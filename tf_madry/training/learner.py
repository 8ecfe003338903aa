"""What every training step works with: the examples, the network, its gradients, the optimizer."""

import dataclasses

import keras
import tensorflow as tf

from tf_madry import checkpoints, datasets
from tf_madry.attacks.losses import score, xent
from tf_madry.attacks.pgd import PGD
from tf_madry.config import Config
from tf_madry.runtime import seeds
from tf_madry.runtime.graphs import acyclic
from tf_madry.training import shifts
from tf_madry.training.copies import Copies
from tf_madry.training.optimizer import Adam
from tf_madry.training.schedule import Schedule
from tf_madry.training.stepper import Part, StepResult


class Learner:
  """A network in training.

  Args:
    config: of the run.
    dataset: its training images stay on the device as bytes.

  Attributes:
    config: as given, but for the number of steps where that was changed by `take`.
    dataset: as given.
    image_shape: (height, width, channels).
    num_classes: number of logits.
    num_examples: to train on.
    copies: the network, see `Copies`.
    schedule: of learning rate and radius.
    optimizer: Adam, of `copies.trained`.
  """

  def __init__(self, config: Config, dataset: datasets.Dataset):
    self.config, self.schedule, self.dataset = config, Schedule(config.training), dataset
    self.image_shape, self.num_classes = dataset.image_shape, dataset.num_classes
    self.num_examples = len(dataset.train)
    self.copies = Copies(config, dataset.image_shape, dataset.num_classes)
    # Adam as TensorFlow 1 had it, where ε is 1e-8 (Keras: 1e-7). Normalisation leaves rounding
    # errors of about that for gradients that are 0: Adam must not make whole steps of them.
    epsilon = 1e-6 if config.training.bounds else 1e-8
    self.optimizer = Adam(config.training.learning_rate, epsilon=epsilon, name="adam")
    self.optimizer.build(self.trained.trainable_variables)
    self._images = tf.constant(dataset.train.images)
    self._labels = tf.constant(dataset.train.labels)
    self.differentiate = acyclic(self._differentiate)

  @property
  def model(self) -> keras.Model:
    """The result."""
    return self.copies.result

  @property
  def trained(self) -> keras.Model:
    """The copy whose weights the optimizer moves."""
    return self.copies.trained

  def twin(self, device: str) -> "Learner":
    """Another one of the same run, all of it on another device."""
    with tf.device(device):
      twin = Learner(self.config, self.dataset)
    twin.follow(self)
    return twin

  def follow(self, other: "Learner") -> None:
    """Takes over the state of another one."""
    for ours, theirs in zip(self.variables().values(), other.variables().values(), strict=True):
      ours.assign(theirs.numpy())

  def take(self, steps: int) -> None:
    """Changes how many steps the run, with its schedules, is to take."""
    training = dataclasses.replace(self.config.training, steps=steps)
    self.config = dataclasses.replace(self.config, training=training)
    self.schedule.take(steps)

  def batch(self, indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Training examples by number: float32 images [batch, height, width, channels], labels."""
    return datasets.as_float(tf.gather(self._images, indices)), tf.gather(self._labels, indices)

  def moved(self, indices: tf.Tensor, step: tf.Tensor,
            part: Part | None = None) -> tuple[tf.Tensor, tf.Tensor]:
    """As `batch`, with the images as they are in that step: moved by up to `shift` pixels.

    Args:
      indices: of the examples.
      step: training step, from 0.
      part: of the batch that the examples are; None: all of it.
    """
    images, labels = self.batch(indices)
    return self.move(images, step, part), labels

  def move(self, images: tf.Tensor, step: tf.Tensor, part: Part | None = None, *,
           back: bool = False) -> tf.Tensor:
    """Moves images of a batch, or what belongs to their pixels, as that step does; or back."""
    training = self.config.training
    if not training.shift:
      return images
    key = seeds.key(training.seed, step, "shift")
    return shifts.moved(images, training.shift, key, part and (part.first, part.total), back)

  def _differentiate(self, images, labels):
    """The training loss by the computing copy: (`StepResult`, gradient by images, by weights)."""
    model = self.copies.computing
    with tf.GradientTape() as tape:
      tape.watch(images)
      logits = model(images, training=True)
      losses = xent(logits, labels)
      mean = self.config.training.reduction == "mean"
      objective = tf.reduce_mean(losses) if mean else tf.reduce_sum(losses)
    weights = [weight.value for weight in model.trainable_variables]
    of_images, *of_weights = tape.gradient(objective, [images, *weights])
    accuracy = tf.reduce_mean(tf.cast(tf.argmax(logits, -1, tf.int32) == labels, tf.float32))
    return StepResult(tf.reduce_mean(losses), accuracy, images, labels), of_images, of_weights

  def update(self, gradients: list[tf.Tensor], done: tf.Tensor) -> None:
    """One step of Adam on the trained weights, when that share of the run has been done."""
    self.optimizer.learning_rate.assign(self.schedule.learning_rate(done))
    gradients = (tf.cast(gradient, tf.float32) for gradient in gradients)
    self.optimizer.apply_gradients(zip(gradients, self.trained.trainable_variables, strict=True))

  def average(self, step: tf.Tensor) -> None:
    """Takes the weights after training step `step` (from 0) into the result, see `Copies`."""
    self.copies.average(step, self.schedule.done(step, 1) >= 1)

  def rescore(self, result: StepResult) -> StepResult:
    """With loss and accuracy of the result, in float32, on the images that were just trained on; in
    a recipe that crafts none, on such as it is validated with."""
    if self.config.training.bounds:
      attack = PGD(**dataclasses.asdict(self.config.evaluation_attack))
      result = result._replace(images=attack(self.model, result.images, result.labels))
    right, losses = score(self.model, result.images, result.labels)
    accuracy = tf.reduce_mean(tf.cast(right, tf.float32))
    return result._replace(loss=tf.reduce_mean(losses), accuracy=accuracy)

  def variables(self) -> dict[str, tf.Variable]:
    """{name: variable} of everything that a checkpoint has to hold."""
    owners = {"model": self.model, "optimizer": self.optimizer}
    if self.trained is not self.model:
      owners["trained"] = self.trained
    return {name: variable for prefix, owner in owners.items()
            for name, variable in checkpoints.variables_of(owner, prefix).items()}
