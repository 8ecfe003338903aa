"""Recipe `certified`: training on bounds that no attack can exceed (Gowal et al. 2018)."""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from tf_madry.attacks.losses import xent
from tf_madry.checkpoints import Checkpoint
from tf_madry.config import Config
from tf_madry.datasets import Dataset, as_float
from tf_madry.models import intervals
from tf_madry.runtime.graphs import acyclic, compiled
from tf_madry.training.learner import Learner
from tf_madry.training.normalization import EXAMPLES, normalized
from tf_madry.training.stepper import Part, StepResult

# Of all gradients together. While ε rises, some batches' bounds are far out.
LARGEST_NORM = 10.0

FIXED = 2  # variables: kernel and bias of the first layer

GREY = 0.15  # see `open_share`; MNIST at ε = 0.3 has 0.07, images of even greys have 0.6


def open_share(dataset: Dataset, epsilon: float) -> float:
  """The part of what thresholds see that an attack can change, mean over training images.

  0 where all pixels are black or white, 1 where each can be made either.
  """
  pixels = as_float(dataset.train.images[:1_000])
  width = max(1 - 2 * epsilon, 1e-6)
  most, least = (np.clip((pixels - low) / width, 0, 1) for low in (0, 2 * epsilon))
  return float((most - least).mean())


def notices(config: Config, dataset: Dataset) -> Iterator[str]:
  """Says so where the images are of a kind that bounds prove little of."""
  share = open_share(dataset, config.attack.epsilon)
  if share > GREY:
    yield (f"within ε = {config.attack.epsilon:g}, {share:.0%} of what the first layer sees of "
           f"{dataset.name} is open to an attack (MNIST at ε = 0.3: 7%): interval bounds will "
           "prove little of such images")


class BoundsStep:
  """A step on the cross-entropy of the least margins that any image of the ball can have.

  While ε rises, what the ramp leaves of the loss is that of the natural images, from which a
  network learns what there is to be bounded. The first layer stays as it begins: behind its
  thresholds black and white are points, and boxes small (`models/thresholds.py`).

  A longer rise buys natural accuracy and costs proof. Of all test images, seed 0, certified and
  natural: 7,000 steps 89.2 and 97.0 %, 14,000 with a rise of as many steps 89.6 and 97.0, 60,000
  with one of as large a share 88.6 and 97.5.

  Of 5,000 validation images, 4,000 steps, other networks hardly do better: this one has 89.2 and
  97.1, one of three 3×3 convolutions behind the thresholds 89.3 and 96.7, one whose thresholds are
  not pooled, as the paper's are, 89.7 and 97.4; and this one trained with ε = 0.35 89.1 and 96.0.
  """

  def __init__(self, learner: Learner):
    self._learner = learner
    self._differentiate = acyclic(self._gradients)
    self._compiled = compiled(self._run)

  def run(self, indices: tf.Tensor, step: tf.Tensor) -> StepResult:
    """As in `Step`: `accuracy` is the share that the bounds prove, `images` are natural."""
    return self._compiled(indices, step, self.phase(step))

  def _run(self, indices, step, rising):
    result, gradients = self.gradients(indices, step, rising)
    self.update(gradients, step)
    return result

  def phase(self, step: tf.Tensor) -> bool:
    """Whether ε is rising: afterwards the natural images are not looked at, a third of the work."""
    return float(self._learner.schedule.done(step)) < self._learner.config.training.ramp

  def gradients(self, indices: tf.Tensor, step: tf.Tensor, phase: bool,
                part: Part | None = None) -> tuple[StepResult, list[tf.Tensor]]:
    """As in `DivisibleStep`; gradients by all weights but those of the first layer."""
    learner = self._learner
    with tf.GradientTape() as tape:
      # Of the same images for all parts of the batch, so that all have the same weights.
      weights = normalized(learner.trained, learner.batch(indices[:EXAMPLES])[0],
                           learner.copies.computing.trainable_variables[FIXED].dtype)
    learner.copies.follow(weights)
    images, labels = learner.batch(part.of(indices) if part else indices)
    radius = learner.schedule.part_of_epsilon(learner.schedule.done(step))
    weight = radius / learner.config.training.margin if phase else None
    loss, accuracy, gradients = self._differentiate(images, labels, radius, weight)
    trained = [variable.value for variable in learner.trained.trainable_variables]
    gradients = tape.gradient(weights[FIXED:], trained[FIXED:], output_gradients=gradients)
    return StepResult(loss, accuracy, images, labels), gradients

  def update(self, gradients: list[tf.Tensor], step: tf.Tensor) -> None:
    """As in `DivisibleStep`: a step of Adam, the gradients' norm clipped."""
    learner = self._learner
    gradients, _ = tf.clip_by_global_norm(gradients, LARGEST_NORM)
    first = learner.trained.trainable_variables[:FIXED]
    learner.update([*map(tf.zeros_like, first), *gradients], learner.schedule.done(step))
    learner.average(step)

  def _gradients(self, images, labels, part, weight):
    """(loss, certified share, gradients by all weights but those of the first layer), at that part
    of ε, with that weight of the bounds; None: the bounds alone."""
    learner, model = self._learner, self._learner.copies.computing
    weights = [variable.value for variable in model.trainable_variables[FIXED:]]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
      for variable in weights:
        tape.watch(variable)
      box = intervals.around(images, learner.config.attack.epsilon * part)
      margins = intervals.margins(*intervals.hidden(model, box, sound=False), labels, sound=False)
      # Each class but the label's with the most that it can be above it: z_j - z_y.
      losses = xent(-margins, labels)
      if weight is not None:
        natural = xent(model(images, training=True), labels)
        losses = weight * losses + (1 - weight) * natural
      mean = learner.config.training.reduction == "mean"
      objective = tf.reduce_mean(losses) if mean else tf.reduce_sum(losses)
    gradients = [tf.cast(gradient, tf.float32) for gradient in tape.gradient(objective, weights)]
    others = tf.where(tf.one_hot(labels, margins.shape[-1], True, False), np.inf, margins)
    certified = tf.reduce_mean(tf.cast(tf.reduce_min(others, -1) > 0, tf.float32))
    return tf.reduce_mean(losses), certified, gradients

  def report(self, result: StepResult) -> dict[str, object]:
    """`certified_accuracy`: the share of the batch that the bounds prove, before the update."""
    return {"certified_accuracy": round(float(result.accuracy), 4)}

  def arrays(self) -> dict[str, np.ndarray]:
    """Nothing: all that lasts are the learner's variables."""
    return {}

  def restore(self, checkpoint: Checkpoint) -> None:
    """Nothing to do."""
