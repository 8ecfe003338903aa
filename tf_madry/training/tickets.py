"""Which batches of the data stream have been trained on, where they do not come in order."""

import heapq
from collections.abc import Iterable, Mapping

import numpy as np

_NEXT, _RETURNED = "tickets/next_ticket", "tickets/returned"  # arrays of a checkpoint


class Tickets:
  """Numbers of the batches of the data stream: each is consumed once, over stops and resumes too.

  Args:
    next_ticket: the first ticket that was never drawn.
    returned: tickets below it that are still to be consumed, in any order.
  """

  def __init__(self, next_ticket: int = 0, returned: Iterable[int] = ()):
    self._next = int(next_ticket)
    self._returned = sorted(map(int, returned))  # a sorted list is a heap
    self._unconsumed = set(self._returned)

  @classmethod
  def after(cls, step: int, arrays: Mapping[str, np.ndarray]) -> "Tickets":
    """Those of a run that goes on after so many steps with the arrays of its checkpoint.

    A checkpoint without tickets is of a run that took its batches in order.
    """
    return cls(arrays.get(_NEXT, step), arrays.get(_RETURNED, ()))

  def draw(self) -> int:
    """Returns the lowest ticket that nobody has; whoever drew it consumes it or gives it back."""
    if self._returned:
      return heapq.heappop(self._returned)
    ticket, self._next = self._next, self._next + 1
    self._unconsumed.add(ticket)
    return ticket

  def give_back(self, ticket: int) -> None:
    """Lets a drawn ticket be drawn again."""
    heapq.heappush(self._returned, ticket)

  def consume(self, ticket: int) -> None:
    """Settles a drawn ticket for good.

    Raises:
      KeyError: it has been consumed before, or was never drawn.
    """
    self._unconsumed.remove(ticket)

  @property
  def in_order(self) -> bool:
    """Whether the batches consumed are the first so many."""
    return not self._unconsumed

  def arrays(self) -> dict[str, np.ndarray]:
    """What `after` goes on from; tickets that are drawn and not consumed count as returned."""
    return {_NEXT: np.int64(self._next), _RETURNED: np.array(sorted(self._unconsumed), np.int64)}
