"""Shared memory that no crash can leave behind.

It has no name: it is a file without a directory entry, mapped by the trainer and inherited by the
workers as a file descriptor. The kernel frees it with the last process that maps it, however those
processes end. A segment with a name, as `multiprocessing.shared_memory.SharedMemory` is, can
outlive them, and then nobody can tell whose it was where containers share /dev/shm.
"""

import mmap
import os
import tempfile
from multiprocessing import reduction

from tf_madry.errors import UserError


class Segment:
  """Zeroed shared memory, really reserved, that a `spawn`ed process receives among its arguments.

  Args:
    size: bytes.
    purpose: what the memory is for; the subject of the error message.
    directory: a directory in memory; by default /dev/shm where it exists, else the directory for
      temporary files.

  Attributes:
    buffer: the memory, as `mmap.mmap`. It lives as long as anything in any process refers to it.

  Raises:
    UserError: there is not that much room, or the system does not grant it.
  """

  def __init__(self, size: int, purpose: str, directory: str | None = None):
    if directory is None:
      directory = "/dev/shm" if os.path.isdir("/dev/shm") else tempfile.gettempdir()
    room = os.statvfs(directory)
    free = room.f_bavail * room.f_frsize
    too_small = f"{purpose} needs {size} bytes of shared memory, {directory} has {free} bytes free"
    if room.f_blocks and size > free:  # a tmpfs without a limit has no blocks
      raise UserError(too_small)
    self._file = None
    try:
      self._file = tempfile.TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115 (see close)
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

  def close(self) -> None:
    """Forgets the memory; it is freed once no process and no array refers to it any more."""
    self._file.close()
    self.buffer = None
