"""What the networks of the studies keep of their training, so that each is trained once and serves all of them."""

import os

import numpy as np
import tensorflow as tf

from tf_madry import checkpoints
from tf_madry.attacks import linf
from tf_madry.training import staleness
from tf_madry.training.step import AdversarialStep

EXAMPLES = 8  # the first of the training set, watched for cycles
FRAME_EVERY = 8  # steps: an eighth of the staleness of 64 at which the paper sees cycles
LEVELS = linf.LEVELS
SNAPSHOTS = "snapshots"


class Recorder:
  """A `Stepper`, plain or stale, that trains as without it and takes notes.

  Every `FRAME_EVERY` steps the current weights' perturbations of the watched examples, each from a random start of its
  own, join `frames` in the checkpoint, int8 [frames, examples, height, width, channels] in units of ε/127. Of a network
  without staleness, the weights after some steps are kept in `SNAPSHOTS`, 13 MB each, for evaluation afterwards: so no
  evaluation counts as training time.

  Args:
    learner: `learner.Learner`.
    batches: `datasets.Batches`.
    points: steps whose weights are kept.
  """

  def __init__(self, learner, batches, *, points):
    self._learner, self._step, self._stepper = learner, AdversarialStep(learner), staleness.stepper(learner, batches)
    training = learner.config.training
    self._points = () if training.staleness or training.staleness_reload else points
    self._frames = []

  def __call__(self, step):
    """Does training step `step` (from 0); None for "not yet, call again"."""
    result = self._stepper(step)
    if result is None:
      return None
    if (step + 1) % FRAME_EVERY == 0:
      self._frames.append(self._frame(step))
    if step + 1 in self._points:
      self._keep(step + 1)
    return result

  def _frame(self, step):
    indices = tf.range(EXAMPLES)
    images, _ = self._step.craft(indices, tf.constant(step))
    natural, _ = self._learner.batch(indices)
    change = (images - natural).numpy() / self._learner.config.attack.epsilon
    return np.round(change * LEVELS).clip(-LEVELS, LEVELS).astype(np.int8)

  def _keep(self, step):
    learner = self._learner
    arrays = {name: variable.numpy() for name, variable in checkpoints.variables_of(learner.model, "model").items()}
    arrays |= {"step": np.int64(step), "image_shape": np.int32(learner.image_shape),
               "num_classes": np.int32(learner.num_classes)}
    folder = os.path.join(learner.config.run.model_dir, SNAPSHOTS)
    checkpoints.save(folder, step, learner.config, arrays, keep=len(self._points))

  def arrays(self):
    """The queue of a stale stepper, and the frames so far."""
    frames = np.array(self._frames, np.int8).reshape(-1, EXAMPLES, *self._learner.image_shape)
    return self._stepper.arrays() | {"frames": frames}

  def restore(self, checkpoint):
    """Goes on from a `checkpoints.Checkpoint`."""
    self._stepper.restore(checkpoint)
    self._frames = list(checkpoint.arrays["frames"])

  def report(self):
    """What the stepper reports."""
    return self._stepper.report()

  def begin_line(self):
    """Tells the stepper."""
    self._stepper.begin_line()

  def close(self):
    """Closes the stepper."""
    self._stepper.close()
