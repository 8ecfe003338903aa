"""The simulations of §5: batches that wait in a queue, weights that are reloaded."""

import collections

import numpy as np
import tensorflow as tf

from tf_madry.attacks import linf
from tf_madry.attacks.losses import score
from tf_madry.checkpoints import Checkpoint
from tf_madry.datasets import Batches
from tf_madry.training.learner import Learner
from tf_madry.training.step import AdversarialStep
from tf_madry.training.stepper import Stepper, StepResult
from tf_madry.training.synchronous import Synchronous

# Steps; prime, so that whatever R is, fresh accuracy is looked at at every age of the weights that
# craft.
FRESH_EVERY = 11
CRAFTING = "staleness/crafting/"  # in front of the names of those weights in a checkpoint


def stepper(learner: Learner, batches: Batches) -> Stepper:
  """The stepper that the config asks for; without a staleness, plain training."""
  training = learner.config.training
  if training.staleness_reload:
    return Reloading(learner, AdversarialStep(learner), batches)
  if training.staleness:
    return Stale(learner, AdversarialStep(learner), batches)
  return Synchronous(learner, batches)


def _accuracy(learner, images, labels):
  """Of the weights as they are, in float32."""
  right, _ = score(learner.trained, images, labels)
  return float(np.mean(right))


class Stale:
  """The `Stepper` that trains on batches crafted exactly s steps before (§5).

  The queue is filled before training starts, at the time steps -s … -1. At time step t a batch is
  crafted for the current weights and enters, and the one that entered at t - s leaves and is
  trained on. Training sees the batches of plain training in the same order, each with the random
  start and the ε of its number, whatever s is.

  The queue holds perturbations as whole multiples of 1/127 of the ball's radius, a byte a pixel: s
  × batch × pixels bytes, in memory and in every checkpoint, which is 103 MB for s = 1024 and
  batches of 128 MNIST images (float32 images: 411 MB). A pixel moves by up to 1/254 of the radius,
  0.0012 at ε = 0.3 and a third of a grey level, and stays in the ball; its border is kept as it is.
  """

  pending = ""

  def __init__(self, learner: Learner, step: AdversarialStep, batches: Batches):
    self._learner, self._step, self._batches = learner, step, batches
    self._queue = collections.deque()  # of int8 perturbations, the oldest first
    self._size = learner.config.training.staleness
    self._radius = learner.config.training.margin * learner.config.attack.epsilon
    self._pack, self._unpack = tf.function(self._packed), tf.function(self._unpacked)
    self.begin_line()

  def __call__(self, step: int) -> StepResult | None:
    """Does training step `step` (from 0); None while the queue is being filled: call again."""
    # The last to enter was crafted for an earlier step, unless the queue is not full yet.
    number = step + len(self._queue)
    indices = tf.constant(self._batches.indices(number))
    images, labels = self._step.craft(indices, tf.constant(number))
    self._queue.append(self._pack(images, indices, tf.constant(number)))
    if len(self._queue) <= self._size:
      return None
    stale = self._unpack(self._queue.popleft(), tf.constant(self._batches.indices(step)),
                         tf.constant(step))
    self._fresh.append(_accuracy(self._learner, images, labels))
    # The training step knows the stale accuracy, but of the model that it computes with.
    rounded = self._learner.config.training.precision != "float32"
    accuracy = _accuracy(self._learner, *stale) if rounded else None
    result = self._step.learn(*stale, tf.constant(step))
    self._stale.append(accuracy if rounded else float(result.accuracy))
    return result

  def _packed(self, images, indices, step):
    natural, _ = self._learner.moved(indices, step)
    return linf.pack(tf.math.divide_no_nan(images - natural, self._radius))  # a ball may be a point

  def _unpacked(self, packed, indices, step):
    natural, labels = self._learner.moved(indices, step)
    moved = natural + self._radius * linf.unpack(packed)
    return linf.project(moved, linf.ball(natural, self._radius)), labels

  def arrays(self) -> dict[str, np.ndarray]:
    """The queue, for the checkpoint: int8 [batches, batch, height, width, channels]."""
    shape = (len(self._queue), self._learner.config.training.batch_size, *self._learner.image_shape)
    return {"staleness/queue": np.array([packed.numpy() for packed in self._queue],
                                        np.int8).reshape(shape)}

  def restore(self, checkpoint: Checkpoint) -> None:
    """Goes on from a checkpoint, be its queue full or not."""
    self._queue.extend(map(tf.constant, checkpoint.arrays["staleness/queue"]))

  def report(self) -> dict[str, object]:
    """`fresh_accuracy`, of the current weights on the batch just crafted, and `stale_accuracy`, on
    the batch trained on.

    Both are adversarial, in float32, taken before the update, and means over the steps since the
    last line of metrics.jsonl.
    """
    return {"fresh_accuracy": float(np.mean(self._fresh)),
            "stale_accuracy": float(np.mean(self._stale))}

  def begin_line(self) -> None:
    """Begins to measure anew."""
    self._fresh, self._stale = [], []

  def close(self) -> None:
    """Lets go of the queue."""
    self._queue.clear()


class Reloading:
  """The `Stepper` whose crafting weights are renewed every R steps only.

  The workers of §5 reload them so.

  Step t trains at once on a batch crafted with the weights of step R·⌊t/R⌋: its staleness is t mod
  R, from 0 to R - 1, (R - 1)/2 on average. No queue: what waits in one adds to this in a real run.
  R = 1 is plain training.
  """

  pending = ""

  def __init__(self, learner: Learner, step: AdversarialStep, batches: Batches):
    self._learner, self._step, self._batches = learner, step, batches
    self._every = learner.config.training.staleness_reload
    self._crafting = []  # the weights, as arrays
    self.begin_line()

  def __call__(self, step: int) -> StepResult:
    """Does training step `step` (from 0)."""
    learner, age = self._learner, step % self._every
    indices, number = tf.constant(self._batches.indices(step)), tf.constant(step)
    weights = learner.trained.weights
    if not age:
      self._crafting = [variable.numpy() for variable in weights]
      images, labels = self._step.craft(indices, number)
    else:
      current = [variable.numpy() for variable in weights]
      _assign(weights, self._crafting)
      images, labels = self._step.craft(indices, number)
      _assign(weights, current)
    if step % FRESH_EVERY == 0:
      fresh = self._step.craft(indices, number) if age else (images, labels)
      self._fresh.append(_accuracy(learner, *fresh))
    rounded = learner.config.training.precision != "float32"
    accuracy = _accuracy(learner, images, labels) if rounded else None
    result = self._step.learn(images, labels, number)
    self._stale.append(accuracy if rounded else float(result.accuracy))
    self._ages.append(age)
    return result

  def arrays(self) -> dict[str, np.ndarray]:
    """The weights that craft, for the checkpoint."""
    names = [variable.path for variable in self._learner.trained.weights]
    return {CRAFTING + name: array for name, array in zip(names, self._crafting, strict=True)}

  def restore(self, checkpoint: Checkpoint) -> None:
    """Goes on from a checkpoint."""
    self._crafting = [checkpoint.arrays[CRAFTING + variable.path]
                      for variable in self._learner.trained.weights]

  def report(self) -> dict[str, object]:
    """`stale_accuracy` of the batches trained on, `staleness_mean` and `staleness_max` of them;
    `fresh_accuracy`.

    Accuracies are adversarial, in float32, taken before the update, and means since the last line
    of metrics.jsonl. Fresh is that of batches crafted for the current weights, every `FRESH_EVERY`
    steps; where a line has no such step, it is left out.
    """
    values = {"stale_accuracy": float(np.mean(self._stale)),
              "staleness_mean": float(np.mean(self._ages)),
              "staleness_max": max(self._ages)}
    if self._fresh:
      values["fresh_accuracy"] = float(np.mean(self._fresh))
    return values

  def begin_line(self) -> None:
    """Begins to measure anew."""
    self._fresh, self._stale, self._ages = [], [], []

  def close(self) -> None:
    """Lets go of the weights."""
    self._crafting = []


def _assign(variables, arrays):
  for variable, array in zip(variables, arrays, strict=True):
    variable.assign(array)
