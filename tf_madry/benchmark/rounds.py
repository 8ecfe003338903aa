"""What the benchmarks share: the paper's batch, timing in turn, and a line of numbers as text."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

BATCH_SIZE, IMAGE_SHAPE = 128, (28, 28, 1)  # of the paper's training (§6)
PATIENCE = 60  # seconds until a partner that says nothing is given up


def alternate(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
  """Times calls in turn, so that what else the machine does hits all of them.

  The first round is left out.

  Args:
    calls: functions by name, each waiting for what it started.
    rounds: how often each is timed.

  Returns:
    Seconds of each round, by name.
  """
  times = {name: [] for name in calls}
  for _ in range(1 + rounds):
    for name, call in calls.items():
      start = time.perf_counter()
      call()
      times[name].append(time.perf_counter() - start)
  return {name: values[1:] for name, values in times.items()}


def spread(values: Sequence[float], form: str) -> str:
  """Numbers as text: their median, and their range."""
  return f"{statistics.median(values):{form}} ({min(values):{form}}–{max(values):{form}})"
