"""How many steps fit into a number of minutes, by the pace of a few."""

import statistics
import time
from collections.abc import Callable

from tf_madry import datasets
from tf_madry.errors import require
from tf_madry.training import saving, validation
from tf_madry.training.learner import Learner
from tf_madry.training.stepper import Stepper

# The pace is measured on so many steps, and for such a share of the time: it drifts.
STEPS = 10
SHARE = 0.03
ENDING = 10.0  # seconds that the last checkpoint and the end of the process are reckoned to take
# Of the time without validations, that steps may take at their pace; the rest is for a pace that falls.
LOOP_SHARE = 0.9


def steps_within(learner: Learner, stepper: Stepper, split: datasets.Split, *, minutes: float,
                 began: float, clock: Callable[[], float] = time.monotonic) -> int:
  """How many steps can be done and validated, at the speed of a few, which are undone.

  Args:
    learner, stepper: of a run that has not begun.
    split: its validation split.
    minutes: how long the run shall take in all.
    began: time of `clock` from which they count.
    clock: seconds, from anywhere.

  Raises:
    UserError: they leave no time for a step.
  """
  state = saving.snapshot(learner, stepper)
  times = []
  while sum(_usual(times)) < SHARE * 60 * minutes or not times:
    for number in range(STEPS):  # spread over the run, whose steps need not all do the same
      before = clock()
      float(stepper(number * learner.config.training.steps // STEPS).loss)
      times.append(clock() - before)
  saving.restore(learner, stepper, state)
  seconds, ending = statistics.mean(_usual(times)) / LOOP_SHARE, ENDING
  if every := learner.config.run.eval_every:
    validation_seconds = _validation_seconds(learner, split, clock)
    seconds += validation_seconds / every
    ending += validation_seconds
  steps = int((began + 60 * minutes - clock() - ending) / seconds)
  require(steps >= 1, "minutes", minutes, "enough for a step after the start")
  return steps


def _usual(times):
  """Those that are not far out, as where something was compiled."""
  return [seconds for seconds in times if seconds <= 2 * statistics.median(times)]


def _validation_seconds(learner, split, clock):
  """The time that a validation takes, by its first batch; the time to compile is left out."""
  batch = split.head(min(len(split), validation.BATCH))
  validation.validate(learner, batch)
  began = clock()
  validation.validate(learner, batch)
  return (clock() - began) * min(len(split), validation.EXAMPLES) / len(batch)
