"""The trainer's side of the ring: who crafts what, what is finished, what comes back from the dead (§5)."""

import contextlib
import functools
import heapq
import selectors
import time
from collections import deque
from dataclasses import dataclass, field
from multiprocessing import connection as mp_connection

from tf_madry.asynchronous.local import slots as ring_lib

_AHEAD = 2  # tickets, and slots, that a worker holds: one in work and one to go on with while the trainer is busy


class Tickets:
  """Which batches of the data stream have been consumed: every ticket exactly once, over stops and resumes too.

  Args:
    next_ticket: the first ticket that was never drawn.
    returned: tickets below it that are still to be consumed, in any order.
  """

  def __init__(self, next_ticket=0, returned=()):
    self._next = int(next_ticket)
    self._returned = sorted(map(int, returned))  # a sorted list is a heap
    self._unconsumed = set(self._returned)

  def draw(self):
    """Returns the lowest ticket that nobody has; whoever drew it consumes it or gives it back."""
    if self._returned:
      return heapq.heappop(self._returned)
    ticket, self._next = self._next, self._next + 1
    self._unconsumed.add(ticket)
    return ticket

  def give_back(self, ticket):
    """Lets a drawn ticket be drawn again."""
    heapq.heappush(self._returned, ticket)

  def consume(self, ticket):
    """Settles a drawn ticket for good; a second time is a KeyError."""
    self._unconsumed.remove(ticket)

  def state(self):
    """Returns the arguments of the `Tickets` that goes on from here, as integers; drawn ones count as returned."""
    return {"next_ticket": self._next, "returned": sorted(self._unconsumed)}


class Batch:
  """A batch to train on, read in place. It holds its slot, so leave it as soon as the images have been used.

  As a context manager it is consumed when the block ends, and rejected when the block raises. The arrays are read-only
  and belong to the ring: after `consume` or `reject` another batch takes their place.

  Attributes:
    images: float32 [B, h, w, c].
    labels: int32 [B].
    worker: id of the worker that made it.
    sequence: its number among the batches of that worker process, from 1.
    ticket: its number in the data stream.
    weights_step: the trainer step of the weights it was made with.
    blocked: seconds that the worker process had waited for tickets and slots when it announced the batch, in all.
  """

  def __init__(self, slot, settle):
    _, self.worker, self.ticket, self.weights_step, blocked_ns, self.sequence = slot.header.item()
    self.blocked = blocked_ns * 1e-9
    self.images, self.labels = slot.images.view(), slot.labels.view()
    self.images.flags.writeable = self.labels.flags.writeable = False
    self._settle = settle

  def consume(self):
    """Settles the ticket and frees the slot."""
    self._finish(True)

  def reject(self):
    """Gives the ticket back, to be crafted again (the batch is too stale, say), and frees the slot."""
    self._finish(False)

  def _finish(self, consumed):
    settle, self._settle = self._settle, None
    if settle:
      settle(consumed)

  def __enter__(self):
    return self

  def __exit__(self, kind, *_):
    self._finish(kind is None)


@dataclass
class _Hand:
  """What the trainer knows of a worker: how to reach it, and the tickets and slots it holds."""

  connection: mp_connection.Connection
  sentinel: int
  tickets: list = field(default_factory=list)
  slots: set = field(default_factory=set)
  crafting: bool = False  # has said hello, and has not been lost


class Dealer:
  """The trainer's side: deals tickets and slots, takes finished batches, notices dead workers.

  Args:
    ring: the `Ring`.
    tickets: the `Tickets`; the trainer may draw from it as well, to craft a batch of its own.
    in_flight: how many tickets may be dealt and not settled yet, in all; None: as many as hands and slots hold.

  Attributes:
    lost: ids of the workers that closed their pipe or died and have not been removed yet.
    waited: seconds spent waiting in `take`, in all.
    torn: batches that were discarded, and their tickets dealt again, because they were not whole.
  """

  def __init__(self, ring, tickets, in_flight=None):
    self._ring, self._tickets, self._in_flight = ring, tickets, in_flight
    self._dealt = 0  # tickets that are not settled yet
    self._free = deque(range(len(ring.slots)))
    self._ready = deque()
    self._hands = {}
    self._selector = selectors.DefaultSelector()
    self.lost = []
    self.waited = 0.0
    self.torn = 0

  def add_worker(self, worker, connection, sentinel):
    """Begins to deal to a process, as soon as it asks for its first ticket.

    Args:
      worker: its id, an integer; that of a worker that was removed may be given to its replacement.
      connection: the trainer's end of a `multiprocessing.Pipe()`. Close the worker's end here once the process has
        started, so that each side sees the other's end.
      sentinel: `process.sentinel`; keep the process object until the worker has been removed.
    """
    if worker in self._hands:
      raise ValueError(f"worker {worker} has been added already")
    self._hands[worker] = _Hand(connection, sentinel)
    self._selector.register(connection, selectors.EVENT_READ, worker)
    self._selector.register(sentinel, selectors.EVENT_READ, worker)

  def remove_worker(self, worker):
    """Takes back what a dead worker held and closes its pipe; the batches that it had announced stay valid.

    A process that still runs could write into a slot that is someone else's by then: kill and join it first.

    Returns:
      The tickets that go to other workers now, ascending.

    Raises:
      RuntimeError: the process is alive.
    """
    hand = self._hands[worker]
    if not mp_connection.wait([hand.sentinel], 0):
      raise RuntimeError(f"worker {worker} is still alive")
    self._lose(worker)
    self.lost.remove(worker)
    del self._hands[worker]
    with contextlib.suppress(EOFError, OSError):
      while hand.connection.poll():
        self._receive(worker, hand)
    hand.connection.close()
    self._free.extend(hand.slots)
    for ticket in hand.tickets:
      self._tickets.give_back(ticket)
    self._dealt -= len(hand.tickets)
    self._deal()
    return sorted(hand.tickets)

  def take(self, timeout):
    """Returns the `Batch` announced first, or None after `timeout` seconds or as soon as another worker is `lost`."""
    start, lost = time.monotonic(), len(self.lost)
    self._collect(0)
    while True:
      while self._ready:
        worker, index, ticket, sequence = self._ready.popleft()
        slot = self._ring.slots[index]
        begun, by, of, *_, ended = slot.header.item()
        if (begun, by, of, ended) == (sequence, worker, ticket, sequence):
          return Batch(slot, functools.partial(self._settle, index, ticket))
        self.torn += 1
        self._settle(index, ticket, False)
      now = time.monotonic()
      if now >= start + timeout or len(self.lost) > lost:
        return None
      self._collect(start + timeout - now)
      self.waited += time.monotonic() - now

  def ready(self):
    """Returns how many finished batches are waiting: the queue depth."""
    self._collect(0)
    return len(self._ready)

  def in_work(self):
    """Returns {worker: ticket} of what each worker has in work now, or has been dealt and will begin next."""
    return {worker: hand.tickets[0] for worker, hand in self._hands.items() if hand.crafting and hand.tickets}

  def close(self):
    """Closes all pipes, on which the workers raise `TrainerGone`."""
    self._selector.close()
    for hand in self._hands.values():
      hand.connection.close()

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
        worker, hand = key.data, self._hands[key.data]
        if worker in self.lost:  # by an earlier event of this round
          continue
        if key.fileobj == hand.sentinel:
          self._lose(worker)
          continue
        try:
          self._receive(worker, hand)
        except (EOFError, OSError):
          self._lose(worker)
    self._deal()

  def _receive(self, worker, hand):
    message = hand.connection.recv_bytes()
    if message == ring_lib.HELLO:
      hand.crafting = True
      return
    slot, ticket, sequence = ring_lib.READY.unpack(message)
    hand.slots.remove(slot)
    hand.tickets.remove(ticket)
    self._ready.append((worker, slot, ticket, sequence))

  def _lose(self, worker):
    if worker not in self.lost:
      hand = self._hands[worker]
      hand.crafting = False
      self.lost.append(worker)
      self._selector.unregister(hand.connection)
      self._selector.unregister(hand.sentinel)

  def _deal(self):
    """Fills the hands: tickets to who has fewest; slots to who has fewest, and of those to the lowest ticket."""
    hands = [hand for hand in self._hands.values() if hand.crafting]
    if not hands:
      return
    while self._in_flight is None or self._dealt < self._in_flight:
      hand = min(hands, key=lambda hand: len(hand.tickets))
      if len(hand.tickets) == _AHEAD:
        break
      hand.tickets.append(self._tickets.draw())
      self._dealt += 1
      self._send(hand, False, hand.tickets[-1])
    # A slot only for a ticket: nothing lies idle in a hand that has nothing to put there.
    while self._free and (short := [hand for hand in hands if len(hand.slots) < len(hand.tickets)]):
      hand = min(short, key=lambda hand: (len(hand.slots), hand.tickets[0]))
      slot = self._free.popleft()
      hand.slots.add(slot)
      self._send(hand, True, slot)

  def _send(self, hand, is_slot, number):
    # A worker that is not there any more shows in the next `_collect`.
    with contextlib.suppress(OSError):
      hand.connection.send_bytes(ring_lib.DEALT.pack(is_slot, number))
