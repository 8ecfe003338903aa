"""The time of a simulation: jobs that share cores, and events that only take their time."""

import heapq
import itertools
from typing import Any


class Clock:
  """Jobs that share cores evenly, thread by thread, and events that need none.

  A thread goes on at min(1, cores / threads) times the speed that a core of its own gives it. Since
  all go on at one speed, the order in which jobs end is known from the work that each adds to the
  work done when it starts.

  Args:
    cores: None for as many as there are threads: each process has a device of its own.
  """

  def __init__(self, cores: int | None = None) -> None:
    self.now = 0.0
    self._cores = cores
    self._work, self._threads = 0.0, 0
    self._jobs, self._events, self._order = [], [], itertools.count()

  def start(self, what: Any, cost: float, threads: int = 1) -> None:
    """Begins a job of so many seconds of a core, done by so many threads."""
    heapq.heappush(self._jobs, (self._work + cost / threads, next(self._order), what, threads))
    self._threads += threads

  def after(self, what: Any, delay: float) -> None:
    """Has something happen in so many seconds, whatever the cores do."""
    heapq.heappush(self._events, (self.now + delay, next(self._order), what))

  def next(self) -> Any:
    """Goes on to what ends or happens next; returns what that is.

    Of several jobs that end at once it is the one begun first.
    """
    cores = self._threads if self._cores is None else self._cores
    speed = min(1.0, cores / self._threads) if self._threads else 1.0
    ends = self.now + (self._jobs[0][0] - self._work) / speed if self._jobs else float("inf")
    if self._events and self._events[0][0] < ends:
      at, _, what = heapq.heappop(self._events)
      self._work += (at - self.now) * speed
      self.now = at
      return what
    self._work, _, what, threads = heapq.heappop(self._jobs)
    self.now = ends
    self._threads -= threads
    return what
