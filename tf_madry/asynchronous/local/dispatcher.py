"""The trainer's side of the queue: who crafts what, what is finished, what was lost (§5)."""

import contextlib
import functools
import selectors
import time
from collections import deque
from dataclasses import dataclass, field
from multiprocessing import connection as mp_connection

from tf_madry.asynchronous.local.slots import DEALT, HELLO, READY, Slots
from tf_madry.asynchronous.pool import Batch
from tf_madry.training.tickets import Tickets

_AHEAD = 2  # tickets, and slots, of a worker: one in work, one to go on with if the trainer is busy


@dataclass
class _Worker:
  """A worker as the trainer sees it: how to reach it, and the tickets and slots it holds."""

  connection: mp_connection.Connection
  sentinel: int
  tickets: list = field(default_factory=list)
  slots: set = field(default_factory=set)
  crafting: bool = False  # has said hello, and has not been lost


class Dispatcher:
  """Deals tickets and slots, takes finished batches, notices dead workers.

  Args:
    slots: the shared memory.
    tickets: where tickets are drawn; the trainer may draw there as well, to craft a batch of its
      own.
    in_flight: how many tickets may be dealt and not settled yet, in all; None: as many as workers
      and slots hold.

  Attributes:
    lost: numbers of the workers that closed their pipe or died and have not been removed yet.
    waited: seconds spent waiting in `take`, in all.
    torn: batches that were discarded, and their tickets dealt again, because they were not whole.
  """

  def __init__(self, slots: Slots, tickets: Tickets, in_flight: int | None = None):
    self._slots, self._tickets, self._in_flight = slots, tickets, in_flight
    self._dealt = 0  # tickets that are not settled yet
    self._free = deque(range(len(slots)))
    self._ready = deque()
    self._workers = {}
    self._selector = selectors.DefaultSelector()
    self.lost: list[int] = []
    self.waited = 0.0
    self.torn = 0

  def add_worker(self, worker: int, connection: mp_connection.Connection, sentinel: int) -> None:
    """Begins to deal to a process, as soon as it asks for its first ticket.

    Args:
      worker: its number; that of a worker that was removed may be given to its replacement.
      connection: the trainer's end of a `multiprocessing.Pipe()`. Close the worker's end here once
        the process has started, so that each side sees the other's end.
      sentinel: `process.sentinel`; keep the process object until the worker has been removed.
    """
    if worker in self._workers:
      raise ValueError(f"worker {worker} has been added already")
    self._workers[worker] = _Worker(connection, sentinel)
    self._selector.register(connection, selectors.EVENT_READ, worker)
    self._selector.register(sentinel, selectors.EVENT_READ, worker)

  def remove_worker(self, worker: int) -> list[int]:
    """Takes back what a dead worker held and closes its pipe.

    The batches that it had announced stay valid. A process that still runs could write into a slot
    that is someone else's by then: kill and join it first.

    Returns:
      The tickets that go to other workers now, ascending.

    Raises:
      RuntimeError: the process is alive.
    """
    member = self._workers[worker]
    if not mp_connection.wait([member.sentinel], 0):
      raise RuntimeError(f"worker {worker} is still alive")
    self._lose(worker)
    self.lost.remove(worker)
    del self._workers[worker]
    with contextlib.suppress(EOFError, OSError):
      while member.connection.poll():
        self._receive(worker, member)
    member.connection.close()
    self._free.extend(member.slots)
    for ticket in member.tickets:
      self._tickets.give_back(ticket)
    self._dealt -= len(member.tickets)
    self._deal()
    return sorted(member.tickets)

  def take(self, timeout: float) -> Batch | None:
    """Returns the batch announced first, None after `timeout` seconds or when a worker is lost."""
    start, lost = time.monotonic(), len(self.lost)
    self._collect(0)
    while True:
      while self._ready:
        worker, index, ticket, sequence = self._ready.popleft()
        slot = self._slots[index]
        begun, by, of, weights_step, blocked_ns, ended = slot.header.item()
        if (begun, by, of, ended) == (sequence, worker, ticket, sequence):
          settle = functools.partial(self._settle, index, ticket)
          return Batch(slot.images, slot.labels, worker=worker, ticket=ticket,
                       weights_step=weights_step, blocked=blocked_ns * 1e-9, settle=settle)
        self.torn += 1
        self._settle(index, ticket, False)
      now = time.monotonic()
      if now >= start + timeout or len(self.lost) > lost:
        return None
      self._collect(start + timeout - now)
      self.waited += time.monotonic() - now

  def ready(self) -> int:
    """Returns how many finished batches are waiting: the queue depth."""
    self._collect(0)
    return len(self._ready)

  def at_work(self) -> int:
    """Returns how many workers have asked for a ticket, and have not been lost."""
    return sum(one.crafting for one in self._workers.values())

  def in_work(self) -> dict[int, int]:
    """Returns {worker: ticket} of what each worker has in work, or will begin next."""
    return {worker: one.tickets[0] for worker, one in self._workers.items()
            if one.crafting and one.tickets}

  def close(self) -> None:
    """Closes all pipes, on which the workers raise `TrainerGone`."""
    self._selector.close()
    for member in self._workers.values():
      member.connection.close()

  def _settle(self, slot, ticket, consumed):
    (self._tickets.consume if consumed else self._tickets.give_back)(ticket)
    self._dealt -= 1
    self._free.append(slot)
    self._deal()

  def _collect(self, timeout):
    """Receives all messages; waits up to `timeout` seconds for the first."""
    while events := self._selector.select(timeout):
      timeout = 0
      for key, _ in events:
        worker, member = key.data, self._workers[key.data]
        if worker in self.lost:  # by an earlier event of this round
          continue
        if key.fileobj == member.sentinel:
          self._lose(worker)
          continue
        try:
          self._receive(worker, member)
        except (EOFError, OSError):
          self._lose(worker)
    self._deal()

  def _receive(self, worker, member):
    message = member.connection.recv_bytes()
    if message == HELLO:
      member.crafting = True
      return
    slot, ticket, sequence = READY.unpack(message)
    member.slots.remove(slot)
    member.tickets.remove(ticket)
    self._ready.append((worker, slot, ticket, sequence))

  def _lose(self, worker):
    if worker not in self.lost:
      member = self._workers[worker]
      member.crafting = False
      self.lost.append(worker)
      self._selector.unregister(member.connection)
      self._selector.unregister(member.sentinel)

  def _deal(self):
    """Gives tickets and slots to who has fewest, slots of those to who has the lowest ticket."""
    able = [one for one in self._workers.values() if one.crafting]
    if not able:
      return
    while self._in_flight is None or self._dealt < self._in_flight:
      member = min(able, key=lambda one: len(one.tickets))
      if len(member.tickets) == _AHEAD:
        break
      member.tickets.append(self._tickets.draw())
      self._dealt += 1
      self._send(member, False, member.tickets[-1])
    # A slot only for a ticket: none lies idle with a worker that has nothing to put there.
    while self._free and (short := [one for one in able if len(one.slots) < len(one.tickets)]):
      member = min(short, key=lambda one: (len(one.slots), one.tickets[0]))
      slot = self._free.popleft()
      member.slots.add(slot)
      self._send(member, True, slot)

  def _send(self, member, is_slot, number):
    # A worker that is not there any more shows in the next `_collect`.
    with contextlib.suppress(OSError):
      member.connection.send_bytes(DEALT.pack(is_slot, number))
