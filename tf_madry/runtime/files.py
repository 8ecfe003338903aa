"""Files that are written whole or not at all, and directories that one run has to itself.

Not every file system can do all of it: shared folders of virtual machines, old CIFS and some
Lustre refuse to lock, or to confirm what was written. There, what can be done is, and once it is
said what is not.
"""

import contextlib
import errno
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import BinaryIO

from tf_madry.errors import UserError
from tf_madry.runtime import posix

LOCK = ".lock"
TEMPORARY = ".tmp-"  # how the names of files begin that are not whole yet
# How a file system says that it has no such thing, which is no failure of what it has.
LACKING = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.ENODEV,
           errno.EACCES, errno.EPERM)
UNCONFIRMED = "does not confirm what is written (fsync): the last of it may be lost with the power"
UNLOCKED = "has no locks (flock): nothing keeps two runs from writing here at a time"


@contextlib.contextmanager
def replacing(path: str) -> Iterator[BinaryIO]:
  """A binary file that takes the place of `path` when the block ends well, and is gone if not."""
  folder = os.path.dirname(path) or "."
  descriptor, temporary = tempfile.mkstemp(prefix=TEMPORARY, dir=folder)
  try:
    with os.fdopen(descriptor, "wb") as file:
      yield file
      file.flush()
      with _if_it_can(folder, UNCONFIRMED):
        os.fsync(file.fileno())
    with _umask_lock:  # it is the process's, and can only be read by changing it
      umask = os.umask(0)
      os.umask(umask)
    with contextlib.suppress(OSError):  # some mounts decide themselves who may read
      os.chmod(temporary, 0o666 & ~umask)  # mkstemp's files are private
    os.replace(temporary, path)
  except BaseException:
    with contextlib.suppress(FileNotFoundError):
      os.remove(temporary)
    raise
  # Without this the rename itself may be lost with the power.
  with _if_it_can(folder, UNCONFIRMED):  # a folder that can be written may be closed to readers
    directory = os.open(folder, os.O_RDONLY)
    try:
      os.fsync(directory)
    finally:
      os.close(directory)


@contextlib.contextmanager
def _if_it_can(folder, lack):
  """For what a file system may refuse altogether: then says once what it lacks, and goes on."""
  try:
    yield
  except OSError as error:
    if error.errno not in LACKING:
      raise
    told = (os.stat(folder).st_dev, lack)
    if told not in _told:
      _told.add(told)
      print(f"note: the file system of {folder!r} {lack}", file=sys.stderr)


_told = set()
_umask_lock = threading.Lock()


@contextlib.contextmanager
def output(name: str, path: str) -> Iterator[BinaryIO]:
  """As `replacing`, for a file that the user asked for or a run needs.

  Raises:
    UserError: it cannot be written; the message begins with `name`.
  """
  try:
    with replacing(path) as file:
      yield file
  except OSError as error:
    raise UserError(f"{name} {path!r} cannot be written: {error.strerror or error}") from error


def can_hold(folder: str) -> bool:
  """Whether files can be put into a folder, which need not be there yet."""
  missing = _missing(folder)
  place = os.path.dirname(missing[-1]) if missing else folder
  return os.path.isdir(place) and os.access(place, os.W_OK | os.X_OK)


def remove_temporary(folder: str) -> None:
  """Removes what killed writers left behind in a folder where this process alone has files."""
  for name in os.listdir(folder):
    path = os.path.join(folder, name)
    if name.startswith(TEMPORARY) and os.path.isfile(path):
      os.remove(path)


@contextlib.contextmanager
def exclusive(folder: str, name: str = "folder") -> Iterator[None]:
  """Creates a folder if need be and keeps other runs out of it as long as the block lasts.

  The lock goes with the process, however it ends. Folders that were made for nothing are taken
  away again.

  Raises:
    UserError: the folder cannot be made or written, or another run has it; the message begins with
      `name`.
  """
  new, descriptor = _missing(folder), None
  try:
    descriptor = _lock(folder, name)
    yield
  finally:
    if descriptor is not None:
      if new and [file for _, _, names in os.walk(folder) for file in names] == [LOCK]:
        shutil.rmtree(folder, ignore_errors=True)
      os.close(descriptor)
    for path in new:
      with contextlib.suppress(OSError):  # it holds something
        os.rmdir(path)


def _missing(folder):
  """The folders that have to be made for one to be there, the innermost first."""
  path, missing = os.path.abspath(folder), []
  while not os.path.exists(path):
    missing.append(path)
    path = os.path.dirname(path)
  return missing


def _lock(folder, name):
  """Makes a folder and locks it; returns the descriptor that holds the lock."""
  posix.require_posix()
  import fcntl
  path = os.path.join(folder, LOCK)
  try:
    os.makedirs(folder, exist_ok=True)
    # That of a colleague, who made the folder for both, may be there to be read alone.
    foreign = os.path.exists(path) and not os.access(path, os.W_OK)
    descriptor = os.open(path, os.O_RDONLY if foreign else os.O_RDWR | os.O_CREAT, 0o666)
  except OSError as error:
    raise UserError(f"{name} {folder!r} cannot be written: {error.strerror}") from error
  try:
    with _if_it_can(folder, UNLOCKED):
      fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError as error:
    os.close(descriptor)
    raise UserError(f"{name} {folder!r} is in use by another run; choose another one") from error
  except OSError as error:
    os.close(descriptor)
    raise UserError(f"{name} {folder!r} cannot be locked: {error.strerror}") from error
  return descriptor
