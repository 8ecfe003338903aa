"""Large batches, split over the devices of a strategy of `tf.distribute` (§7)."""

import contextlib

import numpy as np
import tensorflow as tf

from tf_madry.checkpoints import Checkpoint
from tf_madry.datasets import Batches
from tf_madry.runtime.graphs import compiled
from tf_madry.training.learner import Learner
from tf_madry.training.stepper import Part, StepResult
from tf_madry.training.synchronous import Synchronous, step_of

# What an operation of several processes ends with where one has gone.
LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError,
        tf.errors.FailedPreconditionError, tf.errors.DeadlineExceededError)


def stepper(learner: Learner, batches: Batches, strategy: tf.distribute.Strategy) -> Synchronous:
  """The stepper of a run on the devices of this process."""
  return Synchronous(learner, batches, lambda learner: ReplicatedStep(learner, strategy))


class ReplicatedStep:
  """A `Step` that the replicas of a strategy take together.

  Each has a learner of its own on its device, all with the same weights. It crafts and
  differentiates its part of the batch, which is nearly all of the work; then the gradients are
  summed over all replicas, and each makes the same update with the sum. So the weights stay the
  same everywhere, and are those of one device but for the order of summation.

  Args:
    learner: of the first replica of this process.
    strategy: `MirroredStrategy` or `MultiWorkerMirroredStrategy`, of as many replicas as a batch has
      examples, or fewer.
  """

  def __init__(self, learner: Learner, strategy: tf.distribute.Strategy):
    self._learner, self._strategy = learner, strategy
    training = learner.config.training
    self._sums = training.reduction == "sum"
    self._numbers = self._own_numbers()
    parts = Part.shares(training.batch_size, strategy.num_replicas_in_sync)
    self._parts = [parts[number] for number in self._numbers]
    _, *devices = strategy.extended.worker_devices
    self._twins = [learner.twin(device) for device in devices]
    self._steps = [step_of(one) for one in (learner, *self._twins)]
    self._gradients = list(map(_gradients, self._steps, self._parts))
    self._run = tf.function(self._together)
    self._gather = tf.function(lambda *values: [strategy.gather(value, 0) for value in values])

  def _own_numbers(self):
    """Which of all replicas are those of this process."""
    values = self._strategy.experimental_distribute_values_from_function(
        lambda context: context.replica_id_in_sync_group)
    return [int(value) for value in self._strategy.experimental_local_results(values)]

  def run(self, indices: tf.Tensor, step: tf.Tensor) -> StepResult:
    """As in `Step`; `images` and `labels` are the whole batch where the step is logged, else those
    of this process's first replica."""
    done = int(step) + 1
    result = self._run(indices, step, self._steps[0].phase(step))
    images, labels = (self._local(value)[0] for value in (result.images, result.labels))
    if self._learner.config.logs_after(done):
      with contextlib.suppress(*LOST):  # the next step will say so; this one is done
        images, labels = self._gather(result.images, result.labels)
    loss, accuracy = (self._local(value)[0] for value in (result.loss, result.accuracy))
    return StepResult(loss, accuracy, images, labels)

  def _local(self, value):
    return self._strategy.experimental_local_results(value)

  def _together(self, indices, step, phase):
    return self._strategy.run(self._on_replica, (indices, step, phase))

  def _on_replica(self, indices, step, phase):
    replica = tf.distribute.get_replica_context()
    one = self._numbers.index(int(tf.get_static_value(replica.replica_id_in_sync_group)))
    result, gradients = self._gradients[one](indices, step, phase)
    # One vector, so that all of it arrives or nothing does, and nothing is changed.
    share = self._parts[one].weight
    weights = [1.0 if self._sums else share] * len(gradients) + [share] * 2
    values = [*gradients, result.loss, result.accuracy]
    vector = tf.concat([tf.reshape(weight * tf.cast(value, tf.float32), [-1])
                        for weight, value in zip(weights, values, strict=True)], 0)
    vector = replica.all_reduce(tf.distribute.ReduceOp.SUM, vector)
    shapes = [value.shape for value in values]
    pieces = tf.split(vector, [shape.num_elements() for shape in shapes])
    *gradients, loss, accuracy = map(tf.reshape, pieces, shapes)
    with tf.control_dependencies([vector]):
      self._steps[one].update(gradients, step)
    return result._replace(loss=loss, accuracy=accuracy)

  def report(self, result: StepResult) -> dict[str, object]:
    """As the step on one device."""
    return self._steps[0].report(result)

  def arrays(self) -> dict[str, np.ndarray]:
    """As the step on one device, which may go on with them, or more devices or fewer."""
    return self._steps[0].arrays()

  def restore(self, checkpoint: Checkpoint) -> None:
    """Goes on from a checkpoint, which the first learner has restored."""
    self._steps[0].restore(checkpoint)
    for twin in self._twins:
      twin.follow(self._learner)


def _gradients(step, part):
  """The first half of a step on a part of the batch: what there is to compile for a device."""
  def gradients(indices, number, phase):
    return step.gradients(indices, number, phase, part)
  return compiled(gradients)
