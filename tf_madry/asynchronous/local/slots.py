"""The bounded queue of batches between the workers and the trainer (§5), in shared memory.

A *ticket* is the number of a batch in the data stream; a *slot* is the room for one finished batch.
The trainer owns both. It deals tickets (what to craft next) and free slots (where to put the
result) through a pipe to each worker; the worker crafts, copies the batch into a slot and announces
it with a message of fixed size. No array is pickled and there is no lock that a killed process
could hold: at any time a slot belongs to exactly one process, and what a dead worker held is dealt
again by the trainer. A worker without a free slot waits, which bounds how stale a batch can be.

    trainer (see dispatcher.py)                   worker, a process started with `spawn`

    tickets = Tickets.after(step, arrays)         def work(slots, connection):
    with Slots(16, 128, (28, 28, 1)) as slots:      producer = Producer(slots, connection, worker=0)
      dispatcher = Dispatcher(slots, tickets)       while True:  # until TrainerGone
      dispatcher.add_worker(0, ours, sentinel)        ticket = producer.next_ticket(timeout)
      with dispatcher.take(timeout) as batch:         images, labels = ...
        train(batch.images, batch.labels)             producer.publish(images, labels, step, 60)
"""

import struct
import time
from collections import deque
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np

from tf_madry.asynchronous.local.memory import Segment
from tf_madry.errors import require

_ALIGNMENT = 64  # bytes: a cache line, and what TensorFlow wants of a buffer to be read in place

# "begun" and "ended" are both the sequence number of the batch, written before and after everything
# else.
_HEADER = np.dtype([(name, np.int64) for name in (
    "begun", "worker", "ticket", "weights_step", "blocked_ns", "ended")])

# The messages, trainer to worker and back.
DEALT = struct.Struct("<?q")  # whether it is a slot or a ticket, its number
READY = struct.Struct("<qqq")  # slot, ticket, sequence
HELLO = READY.pack(-1, -1, 0)  # sequences begin with 1


class TrainerGone(Exception):
  """The trainer has closed its end of the pipe or has died: the worker should exit."""


class Slot(NamedTuple):
  """Views of one slot: images float32 [B, h, w, c], labels int32 [B], header `_HEADER` []."""

  header: np.ndarray
  images: np.ndarray
  labels: np.ndarray


class Slots:
  """All slots: `slots[number]` is a `Slot`.

  The trainer creates them and passes them to each worker among the arguments of `Process`.

  Args:
    slots: how many finished batches may wait, the queue size.
    batch_size: B, images in a batch.
    image_shape: shape of one image, as (h, w, c).
    directory: as in `Segment`.

  Raises:
    UserError: `slots` or `batch_size` below 1, or too little shared memory for them.
  """

  def __init__(self, slots: int, batch_size: int, image_shape: tuple[int, ...],
               directory: str | None = None):
    require(slots >= 1, "queue_size", slots, "at least 1")
    require(batch_size >= 1, "batch_size", batch_size, "at least 1")
    self._dimensions = slots, batch_size, tuple(image_shape)
    size = slots * sum(self._parts())
    self._segment = Segment(size, f"a queue of {slots} batches of {batch_size} images", directory)
    self._slots = self._map()

  def _parts(self):
    """Bytes of header, images and labels of one slot, each rounded up to the alignment."""
    _, batch_size, image_shape = self._dimensions
    parts = _HEADER.itemsize, 4 * batch_size * int(np.prod(image_shape)), 4 * batch_size
    return [-(-part // _ALIGNMENT) * _ALIGNMENT for part in parts]

  def _map(self):
    slots, batch_size, image_shape = self._dimensions
    buffer, (header, images, labels) = self._segment.buffer, self._parts()
    return [
      Slot(
        np.ndarray((), _HEADER, buffer, start),
        np.ndarray((batch_size, *image_shape), np.float32, buffer, start + header),
        np.ndarray((batch_size,), np.int32, buffer, start + header + images),
      )
      for start in range(0, slots * (header + images + labels), header + images + labels)
    ]

  def __getstate__(self):
    return self._dimensions, self._segment

  def __setstate__(self, state):
    self._dimensions, self._segment = state
    self._slots = self._map()

  def __len__(self) -> int:
    return len(self._slots)

  def __getitem__(self, number: int) -> Slot:
    return self._slots[number]

  def __enter__(self) -> "Slots":
    return self

  def __exit__(self, *_) -> None:
    self.close()

  def close(self) -> None:
    """Gives up this process's share of the memory, apart from arrays that are still in use."""
    self._slots = []
    self._segment.close()


class Producer:
  """The worker's side.

  Nothing is dealt to it before it first asks for a ticket, so ask when ready to craft.

  Args:
    slots: the `Slots`, as the process received it.
    connection: the worker's end of the pipe.
    worker: number to put on the batches.

  Attributes:
    blocked: seconds spent waiting for tickets and slots, in all.
  """

  def __init__(self, slots: Slots, connection: Connection, worker: int):
    self._slots, self._connection, self._worker = slots, connection, worker
    self._tickets, self._free = deque(), deque()  # as dealt
    self._sequence = 0
    self._known = False
    self.blocked = 0.0

  def next_ticket(self, timeout: float) -> int | None:
    """Returns the ticket to craft now, or None after `timeout` seconds.

    It stays the same until its batch has been published.

    Raises:
      TrainerGone: nobody is there to deal one.
    """
    if not self._known:
      self._send(HELLO)
      self._known = True
    return self._tickets[0] if self._dealt(self._tickets, timeout) else None

  def publish(self, images: Any, labels: Any, weights_step: int, timeout: float) -> bool:
    """Copies the batch of the current ticket into a slot and announces it.

    Args:
      images: float32 [B, h, w, c], anything NumPy can read.
      labels: int32 [B].
      weights_step: the trainer step of the weights it was made with.
      timeout: seconds to wait for a slot when the queue is full.

    Returns:
      Whether it has been published; if not, the queue is still full: call again.

    Raises:
      TrainerGone: nobody is there to take it.
    """
    if not self._dealt(self._free, timeout):
      return False
    index, ticket = self._free[0], self._tickets[0]
    slot = self._slots[index]
    self._sequence += 1
    blocked_ns = round(self.blocked * 1e9)
    slot.header[...] = self._sequence, self._worker, ticket, weights_step, blocked_ns, 0
    for target, array in (slot.images, images), (slot.labels, labels):
      array = np.asarray(array)
      if (array.shape, array.dtype) != (target.shape, target.dtype):
        raise ValueError(f"published {array.dtype} {array.shape}, "
                         f"a slot holds {target.dtype} {target.shape}")
      target[...] = array
    slot.header["ended"] = self._sequence
    self._send(READY.pack(index, ticket, self._sequence))
    self._free.popleft()
    self._tickets.popleft()
    return True

  def _dealt(self, wanted, timeout):
    """Receives until there is something in `wanted`; False after `timeout` seconds."""
    start = time.monotonic()
    try:
      while not wanted:
        if not self._connection.poll(max(0, start + timeout - time.monotonic())):
          return False
        is_slot, number = DEALT.unpack(self._connection.recv_bytes())
        (self._free if is_slot else self._tickets).append(number)
    except (EOFError, OSError) as error:
      raise TrainerGone from error
    finally:
      self.blocked += time.monotonic() - start
    return True

  def _send(self, message):
    try:
      self._connection.send_bytes(message)
    except OSError as error:
      raise TrainerGone from error
