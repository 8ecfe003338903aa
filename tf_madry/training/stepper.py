"""The seam between the loop and what trains: steppers give a run its steps, steps do one each.

Steppers differ in where batches come from and in who does the work: one process (`synchronous.py`),
several that do the same steps (`multiworker.py`), a simulated queue (`staleness.py`), worker
processes (`tf_madry/asynchronous`). Steps differ in what they do with a batch: adversarial training
(`step.py`), replays of a batch (`replay.py`), interval bounds (`bounds.py`), a part of it on each of
several devices (`replicas.py`).
"""

import itertools
from collections.abc import Hashable
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


class Part(NamedTuple):
  """Some of a batch's examples: those from number `first` on and before number `last`."""

  first: int
  last: int
  total: int

  @classmethod
  def shares(cls, total: int, number: int) -> "list[Part]":
    """A batch in so many parts, of which none is larger than another by more than an example."""
    borders = [total * share // number for share in range(number + 1)]
    return [cls(first, last, total) for first, last in itertools.pairwise(borders)]

  def of(self, batch: tf.Tensor) -> tf.Tensor:
    """This part of a tensor [total, …]."""
    return batch[self.first:self.last]

  @property
  def weight(self) -> float:
    """The share of the batch that it is."""
    return (self.last - self.first) / self.total


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


class DivisibleStep(Step, Protocol):
  """A step in two halves; between them replicas sum their gradients, see `replicas.py`."""

  def phase(self, step: tf.Tensor) -> Hashable:
    """What steps are compiled for: those of another phase are compiled anew."""

  def gradients(self, indices: tf.Tensor, step: tf.Tensor, phase: Hashable,
                part: Part | None) -> tuple[StepResult, list[tf.Tensor]]:
    """The first half: what the step is to a part of its batch (None: to all), and the gradients.

    Both are as if the part were a batch; what is random about its examples is as in the whole.
    """

  def update(self, gradients: list[tf.Tensor], step: tf.Tensor) -> None:
    """The second half: moves the weights by the gradients of the whole batch."""


class Stepper(Protocol):
  """What gives a run its steps; made from a `Learner` and the run's `Batches`.

  Attributes:
    pending: what steps still lack of the pace at which they will go on, in words, as "1 of 2 workers
      still starting"; "" if nothing.
  """

  pending: str

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
