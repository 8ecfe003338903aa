"""The bounded queue of adversarial batches between the workers and the trainer (§5), in shared memory.

A *ticket* is the number of a batch in the data stream; a *slot* is the room for one finished batch. The trainer owns
both. It deals tickets (what to craft next) and free slots (where to put the result) through a pipe to each worker; the
worker crafts, copies the batch into a slot and announces it with a message of fixed size. No array is pickled and
there is no lock that a killed process could hold: at any time a slot belongs to exactly one process, and what a dead
worker held is dealt again by the trainer. A worker without a free slot waits, which bounds how stale a batch can be.

    trainer (the dealer's side is in dealer.py)     worker, a process started with `spawn`

    tickets = Tickets(**where_the_last_run_stopped)  def work(ring, connection):
    with Ring(slots, 128, (28, 28, 1)) as ring:        worker = RingWorker(ring, connection, worker=0)
      dealer = Dealer(ring, tickets)                   while True:  # until TrainerGone
      dealer.add_worker(0, ours, process.sentinel)       ticket = worker.next_ticket(timeout)
      with dealer.take(timeout) as batch:                images, labels = ...
        train(batch.images, batch.labels)                worker.publish(images, labels, weights_step, timeout)

The memory has no name: it is a file without a directory entry, mapped by the trainer and inherited by the workers as a
file descriptor. The kernel frees it with the last process that maps it, however those processes end. A segment with a
name, as `multiprocessing.shared_memory.SharedMemory` is, can outlive them, and then nobody can tell whose it was where
containers share /dev/shm.
"""

import mmap
import os
import struct
import tempfile
import time
from collections import deque
from multiprocessing import reduction
from typing import NamedTuple

import numpy as np

from tf_madry.errors import UserError, require

_ALIGNMENT = 64  # bytes: a cache line, and what TensorFlow wants of a buffer that it reads without a copy

# "begun" and "ended" are both the sequence number of the batch, written before and after everything else.
_HEADER = np.dtype([(name, np.int64) for name in ("begun", "worker", "ticket", "weights_step", "blocked_ns", "ended")])

# The messages, trainer to worker and back.
DEALT = struct.Struct("<?q")  # whether it is a slot or a ticket, its number
READY = struct.Struct("<qqq")  # slot, ticket, sequence
HELLO = READY.pack(-1, -1, 0)  # sequences begin with 1


class TrainerGone(Exception):
  """The trainer has closed its end of the pipe or has died: the worker has nothing left to do and should exit."""


class Segment:
  """`size` bytes of zeroed shared memory, really reserved, that a `spawn`ed process receives among its arguments.

  Args:
    size: bytes.
    purpose: what the memory is for; the subject of the error message.
    directory: a directory in memory; by default /dev/shm where it exists, else the directory for temporary files.

  Attributes:
    buffer: the memory, as `mmap.mmap`. It lives as long as anything in any process refers to it.

  Raises:
    UserError: there is not that much room, or the system does not grant it.
  """

  def __init__(self, size, purpose, directory=None):
    if directory is None:
      directory = "/dev/shm" if os.path.isdir("/dev/shm") else tempfile.gettempdir()
    room = os.statvfs(directory)
    free = room.f_bavail * room.f_frsize
    too_small = f"{purpose} needs {size} bytes of shared memory, {directory} has {free} bytes free"
    if room.f_blocks and size > free:  # a tmpfs without a limit has no blocks
      raise UserError(too_small)
    self._file = None
    try:
      self._file = tempfile.TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115 (closed in close())
      # Not just the length: writing to a hole that cannot be filled later is a SIGBUS.
      if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(self._file.fileno(), 0, size)
      else:
        os.truncate(self._file.fileno(), size)
      self.buffer = mmap.mmap(self._file.fileno(), size)
    except OSError as error:
      if self._file:
        self._file.close()
      raise UserError(f"{too_small} ({error.strerror})") from error

  def __getstate__(self):
    return reduction.DupFd(self._file.fileno())

  def __setstate__(self, descriptor):
    self._file = os.fdopen(descriptor.detach(), "r+b", buffering=0)
    self.buffer = mmap.mmap(self._file.fileno(), 0)

  def close(self):
    """Forgets the memory; it is freed once no process and no array refers to it any more."""
    self._file.close()
    self.buffer = None


class Slot(NamedTuple):
  """Views into the shared memory of one slot: images float32 [B, h, w, c], labels int32 [B], header `_HEADER` []."""

  header: np.ndarray
  images: np.ndarray
  labels: np.ndarray


class Ring:
  """The slots. The trainer creates it and passes it to each worker among the arguments of `Process`.

  Args:
    slots: how many finished batches may wait, the queue size.
    batch_size: B, images in a batch.
    image_shape: shape of one image, as (h, w, c).
    directory: as in `Segment`.

  Raises:
    UserError: `slots` or `batch_size` below 1, or too little shared memory for them.
  """

  def __init__(self, slots, batch_size, image_shape, directory=None):
    require(slots >= 1, "queue_size", slots, "at least 1")
    require(batch_size >= 1, "batch_size", batch_size, "at least 1")
    self._dimensions = slots, batch_size, tuple(image_shape)
    size = slots * sum(self._parts())
    self._segment = Segment(size, f"a queue of {slots} batches of {batch_size} images", directory)
    self.slots = self._map()

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
    self.slots = self._map()

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self.close()

  def close(self):
    """Gives up this process's share of the memory, apart from arrays that are still in use."""
    self.slots = []
    self._segment.close()


class RingWorker:
  """The worker's side. Nothing is dealt to it before it first asks for a ticket, so ask when ready to craft.

  Args:
    ring: the `Ring`, as the process received it.
    connection: the worker's end of the pipe.
    worker: id to put on the batches, an integer.

  Attributes:
    blocked: seconds spent waiting for tickets and slots, in all.
  """

  def __init__(self, ring, connection, worker):
    self._ring, self._connection, self._worker = ring, connection, worker
    self._tickets, self._slots = deque(), deque()
    self._sequence = 0
    self._known = False
    self.blocked = 0.0

  def next_ticket(self, timeout):
    """Returns the ticket to craft now, the same until it has been published, or None after `timeout` seconds.

    Raises:
      TrainerGone: nobody is there to deal one.
    """
    if not self._known:
      self._send(HELLO)
      self._known = True
    return self._tickets[0] if self._dealt(self._tickets, timeout) else None

  def publish(self, images, labels, weights_step, timeout):
    """Copies the batch of the current ticket into a slot and announces it.

    Args:
      images: float32 [B, h, w, c], anything NumPy can read.
      labels: int32 [B].
      weights_step: the trainer step of the weights it was made with.
      timeout: seconds to wait for a slot when the ring is full.

    Returns:
      Whether it has been published; if not, the ring is still full: call again.

    Raises:
      TrainerGone: nobody is there to take it.
    """
    if not self._dealt(self._slots, timeout):
      return False
    index, ticket = self._slots[0], self._tickets[0]
    slot = self._ring.slots[index]
    self._sequence += 1
    slot.header[...] = self._sequence, self._worker, ticket, weights_step, round(self.blocked * 1e9), 0
    for place, array in (slot.images, images), (slot.labels, labels):
      array = np.asarray(array)
      if (array.shape, array.dtype) != (place.shape, place.dtype):
        raise ValueError(f"published {array.dtype} {array.shape}, the ring holds {place.dtype} {place.shape}")
      place[...] = array
    slot.header["ended"] = self._sequence
    self._send(READY.pack(index, ticket, self._sequence))
    self._slots.popleft()
    self._tickets.popleft()
    return True

  def _dealt(self, hand, timeout):
    """Receives until there is something in `hand`; False after `timeout` seconds."""
    start = time.monotonic()
    try:
      while not hand:
        if not self._connection.poll(max(0, start + timeout - time.monotonic())):
          return False
        is_slot, number = DEALT.unpack(self._connection.recv_bytes())
        (self._slots if is_slot else self._tickets).append(number)
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
