"""What the networks of the studies keep of their training.

So each is trained once and serves all studies.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tf_madry import checkpoints, datasets
from tf_madry.attacks import linf
from tf_madry.training import staleness
from tf_madry.training.learner import Learner
from tf_madry.training.step import AdversarialStep
from tf_madry.training.stepper import StepResult

EXAMPLES = 8  # the first of the training set, watched for cycles
LEVELS = linf.LEVELS  # of a perturbation: whole numbers from -LEVELS to LEVELS, which is ε
SNAPSHOTS = "snapshots"


class Recorder:
  """A stepper, plain or stale, that trains as without it and takes notes.

  Every `frame_every` steps it attacks the watched examples with the current weights, each time from
  another random start. The perturbations join `frames` in the checkpoint: int8 [frames, examples,
  height, width, channels], in units of ε/127. Of a network without staleness it keeps the weights
  after some steps in `SNAPSHOTS`, 13 MB each. They are evaluated afterwards, so that no evaluation
  counts as training time.

  Args:
    learner: that trains.
    batches: of the run.
    points: steps whose weights are kept.
    frame_every: steps.
  """

  def __init__(self, learner: Learner, batches: datasets.Batches, *, points: Sequence[int],
               frame_every: int) -> None:
    self._learner, self._step = learner, AdversarialStep(learner)
    self._stepper = staleness.stepper(learner, batches)
    training = learner.config.training
    self._points = () if training.staleness or training.staleness_reload else points
    self._frame_every, self._frames = frame_every, []

  @property
  def pending(self) -> str:
    """As of the stepper."""
    return self._stepper.pending

  def __call__(self, step: int) -> StepResult | None:
    """Does training step `step` (from 0); None for "not yet, call again"."""
    result = self._stepper(step)
    if result is None:
      return None
    if (step + 1) % self._frame_every == 0:
      self._frames.append(self._frame(step))
    if step + 1 in self._points:
      self._keep(step + 1)
    return result

  def _frame(self, step):
    indices = tf.range(EXAMPLES)
    images, _ = self._step.craft(indices, tf.constant(step))
    natural, _ = self._learner.moved(indices, tf.constant(step))
    change = (images - natural).numpy() / self._learner.config.attack.epsilon
    return np.round(change * LEVELS).clip(-LEVELS, LEVELS).astype(np.int8)

  def _keep(self, step):
    learner = self._learner
    arrays = {name: variable.numpy()
              for name, variable in checkpoints.variables_of(learner.model, "model").items()}
    arrays |= {"step": np.int64(step), "image_shape": np.int32(learner.image_shape),
               "num_classes": np.int32(learner.num_classes)}
    folder = os.path.join(learner.config.run.model_dir, SNAPSHOTS)
    checkpoints.save(folder, step, learner.config, arrays, keep=len(self._points))

  def arrays(self) -> dict[str, np.ndarray]:
    """What the stepper keeps, and the frames so far."""
    frames = np.array(self._frames, np.int8).reshape(-1, EXAMPLES, *self._learner.image_shape)
    return self._stepper.arrays() | {"frames": frames}

  def restore(self, checkpoint: checkpoints.Checkpoint) -> None:
    """Goes on from a checkpoint."""
    self._stepper.restore(checkpoint)
    self._frames = list(checkpoint.arrays["frames"])

  def report(self) -> dict[str, Any]:
    """What the stepper reports."""
    return self._stepper.report()

  def begin_line(self) -> None:
    """Tells the stepper."""
    self._stepper.begin_line()

  def close(self) -> None:
    """Closes the stepper."""
    self._stepper.close()


def snapshot(model_dir: str, step: int) -> str:
  """The path of the weights that were kept after a step."""
  return checkpoints.path_of(os.path.join(model_dir, SNAPSHOTS), step)
