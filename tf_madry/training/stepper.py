"""The seam between the loop and what trains: steppers give a run its steps, steps do one each.

Steppers differ in where batches come from and in who does the work: one process (`synchronous.py`),
a simulated queue (`staleness.py`), worker processes (`tf_madry/asynchronous`). Steps differ in what
they do with a batch: adversarial training (`step.py`), replays of a batch (`replay.py`), interval
bounds (`bounds.py`).
"""

from typing import NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from tf_madry.checkpoints import Checkpoint
from tf_madry.errors import UserError


class StepResult(NamedTuple):
  """What a step gives: the `images` and `labels` trained on, and scalars of before the update.

  `loss` is the mean cross-entropy, `accuracy` a share in [0, 1]. Where a step updates the weights
  more than once, they are of before its last update.
  """

  loss: tf.Tensor
  accuracy: tf.Tensor
  images: tf.Tensor
  labels: tf.Tensor


class Step(Protocol):
  """One training step on one batch, compiled."""

  def run(self, indices: tf.Tensor, step: tf.Tensor) -> StepResult:
    """Does the step by number (from 0) on the training examples by number (int32 [batch])."""

  def report(self, result: StepResult) -> dict[str, object]:
    """{name: value} of a step for the log, besides what every run logs."""

  def arrays(self) -> dict[str, np.ndarray]:
    """What it has to keep besides the learner's variables, for the checkpoint."""

  def restore(self, checkpoint: Checkpoint) -> None:
    """Goes on from a checkpoint."""


class Stepper(Protocol):
  """What gives a run its steps; made from a `Learner` and the run's `Batches`."""

  def __call__(self, step: int) -> StepResult | None:
    """Does training step `step` (from 0); None: not yet, the loop sees to signals and calls again.

    Raises:
      StepperError: there can be no other step.
    """

  def arrays(self) -> dict[str, np.ndarray]:
    """What it needs to go on after a stop, besides the learner's variables, for the checkpoint."""

  def restore(self, checkpoint: Checkpoint) -> None:
    """Goes on from a checkpoint; the last call before the first step."""

  def report(self) -> dict[str, object]:
    """{name: value} of the steps since the last `begin_line`, for the log; see `Progress.report`."""

  def begin_line(self) -> None:
    """A line of metrics.jsonl was written: what is reported from here on belongs to the next."""

  def close(self) -> None:
    """Lets go of everything but the learner; the last call."""


class StepperError(UserError):
  """A stepper cannot go on, though the run is sound as far as it has come: it is saved first."""
