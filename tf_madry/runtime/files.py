"""Files that are written whole or not at all, and directories that one run has to itself."""

import contextlib
import fcntl
import os
import shutil
import tempfile

from tf_madry.errors import UserError

LOCK = ".lock"
TEMPORARY = ".tmp-"  # how the names of files begin that are not whole yet


@contextlib.contextmanager
def replacing(path):
  """A binary file that takes the place of `path` when the block ends well, and leaves no trace when it does not."""
  folder = os.path.dirname(path) or "."
  descriptor, temporary = tempfile.mkstemp(prefix=TEMPORARY, dir=folder)
  try:
    with os.fdopen(descriptor, "wb") as file:
      yield file
      file.flush()
      os.fsync(file.fileno())
    umask = os.umask(0)
    os.umask(umask)
    os.chmod(temporary, 0o666 & ~umask)  # mkstemp's files are private
    os.replace(temporary, path)
  except BaseException:
    with contextlib.suppress(FileNotFoundError):
      os.remove(temporary)
    raise
  # Without this the rename itself may be lost with the power.
  directory = os.open(folder, os.O_RDONLY)
  try:
    os.fsync(directory)
  finally:
    os.close(directory)


@contextlib.contextmanager
def output(name, path):
  """As `replacing`, for a file that the user asked for or a run needs.

  Raises:
    UserError: it cannot be written; the message begins with `name`.
  """
  try:
    with replacing(path) as file:
      yield file
  except OSError as error:
    raise UserError(f"{name} {path!r} cannot be written: {error.strerror or error}") from error


def remove_temporary(folder):
  """Removes what killed writers left behind in a folder where this process alone writes, and nobody else keeps files."""
  for name in os.listdir(folder):
    path = os.path.join(folder, name)
    if name.startswith(TEMPORARY) and os.path.isfile(path):
      os.remove(path)


@contextlib.contextmanager
def exclusive(folder, name="folder"):
  """Creates a folder if need be and keeps other runs out of it as long as the block lasts.

  The lock goes with the process, however it ends. Folders that were made for nothing are taken away again.

  Raises:
    UserError: the folder cannot be made or written, or another run has it; the message begins with `name`.
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
  try:
    os.makedirs(folder, exist_ok=True)
    descriptor = os.open(os.path.join(folder, LOCK), os.O_RDWR | os.O_CREAT, 0o666)
  except OSError as error:
    raise UserError(f"{name} {folder!r} cannot be written: {error.strerror}") from error
  try:
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError as error:
    os.close(descriptor)
    raise UserError(f"{name} {folder!r} is in use by another run; choose another one") from error
  except OSError as error:
    os.close(descriptor)
    raise UserError(f"{name} {folder!r} cannot be locked: {error.strerror}") from error
  return descriptor
