"""When lost workers are replaced, and when to give up on them."""

import collections
import sys
import time

from tqdm import tqdm

from tf_madry.training.stepper import StepperError

MOST, PERIOD = 5, 60.0  # more losses in so many seconds: something is wrong that this does not mend
DELAY = 0.25  # seconds before the first; doubled with each loss that follows within the period


class Replacements:
  """Says when to start which worker: all at first, and again after a loss.

  Args:
    workers: how many there are to be, numbered from 0.
    delay: seconds from a loss to the start of another worker, if it is the first within `PERIOD`.

  Attributes:
    count: workers that were lost and replaced, in all.
  """

  def __init__(self, workers: int, delay: float = DELAY):
    self._due = dict.fromkeys(range(workers), 0.0)  # when to start whom
    self._recent = collections.deque()  # times of losses, none older than the period
    self._shown, self._delay = None, delay  # the last traceback; the first delay
    self.count = 0

  def due(self) -> list[int]:
    """The workers to be started now; each is named once."""
    now = time.monotonic()
    workers = [worker for worker, when in self._due.items() if now >= when]
    for worker in workers:
      del self._due[worker]
    return workers

  def lost(self, worker: int, cause: str, held: int, *, blamed: bool = True) -> None:
    """Takes note of a loss, and says so.

    Args:
      worker: its number.
      cause: what became of it, beginning with its name.
      held: how many batches it had in work.
      blamed: whether losses like this, if there are many, are a reason to give up.

    Raises:
      StepperError: too many were lost lately.
    """
    now, delay = time.monotonic(), self._delay
    if blamed:
      self._recent.append(now)
      while now - self._recent[0] > PERIOD:
        self._recent.popleft()
      if len(self._recent) > MOST:
        raise StepperError(
            f"{len(self._recent)} workers were lost within {PERIOD:g} s; the last: {cause}")
      delay *= 2 ** (len(self._recent) - 1)
    self._due[worker] = now + delay
    self.count += 1
    say(f"warning: {cause}; {held} batches in its hands are dealt again, "
        f"another worker starts in {delay:g} s")

  def raised(self, traceback: str) -> str:
    """Shows a worker's traceback, unless it was the last one's too; returns what it has done."""
    again, self._shown = traceback == self._shown, traceback
    if again:
      return "raised the same error again"
    say(traceback.rstrip())
    return "raised the error above"


def say(text: str) -> None:
  """Prints to standard error, above the progress bar if there is one."""
  tqdm.write(text, file=sys.stderr)
