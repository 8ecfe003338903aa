"""The ordinary stepper: one process crafts a batch, then trains on it."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tf_madry.checkpoints import Checkpoint
from tf_madry.datasets import Batches
from tf_madry.training.bounds import BoundsStep
from tf_madry.training.learner import Learner
from tf_madry.training.replay import ReplayStep
from tf_madry.training.step import AdversarialStep
from tf_madry.training.stepper import Step, StepResult
from tf_madry.training.tickets import Tickets


def step_of(learner: Learner) -> Step:
  """The step that the learner's recipe asks for."""
  training = learner.config.training
  if training.bounds:
    return BoundsStep(learner)
  return ReplayStep(learner) if training.replay else AdversarialStep(learner)


class Synchronous:
  """The `Stepper` that does the recipe's step on one batch after the other.

  Args:
    learner, batches: of the run.
    make_step: called with the learner.
  """

  pending = ""

  def __init__(self, learner: Learner, batches: Batches,
               make_step: Callable[[Learner], Step] | None = None):
    self._step, self._batches, self._tickets = (make_step or step_of)(learner), batches, Tickets()

  def __call__(self, step: int) -> StepResult:
    """Does training step `step` (from 0)."""
    ticket = self._tickets.draw()
    indices = tf.constant(self._batches.indices(ticket))
    self._result = self._step.run(indices, tf.constant(step))
    self._tickets.consume(ticket)
    return self._result

  def arrays(self) -> dict[str, np.ndarray]:
    """What the step keeps, and which batches are left, unless they come in their order."""
    return self._step.arrays() | ({} if self._tickets.in_order else self._tickets.arrays())

  def restore(self, checkpoint: Checkpoint) -> None:
    """Goes on from a checkpoint, first with the batches that an asynchronous run had in flight."""
    self._step.restore(checkpoint)
    self._tickets = Tickets.after(checkpoint.step, checkpoint.arrays)

  def report(self) -> dict[str, object]:
    """What the step has to say of the last batch."""
    return self._step.report(self._result)

  def begin_line(self) -> None:
    """Nothing is counted."""

  def close(self) -> None:
    """Nothing is held."""
