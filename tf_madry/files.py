"""Files that are written whole or not at all, and directories that one run has to itself."""

import contextlib
import fcntl
import os
import shutil
import tempfile

from tf_madry.errors import UserError

LOCK = ".lock"


@contextlib.contextmanager
def replacing(path):
  """A binary file that takes the place of `path` when the block ends well, and leaves no trace when it does not."""
  folder = os.path.dirname(path) or "."
  descriptor, temporary = tempfile.mkstemp(prefix=".tmp-", dir=folder)
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
    raise UserError(f"{name} {path!r} cannot be written: {error.strerror}") from error


@contextlib.contextmanager
def exclusive(model_dir):
  """Creates a model directory if need be and keeps other runs out of it as long as the block lasts.

  The lock goes with the process, however it ends. A directory that was made for nothing is taken away again.

  Raises:
    UserError: the directory cannot be made or written, or another run has it.
  """
  new = not os.path.exists(model_dir)
  try:
    os.makedirs(model_dir, exist_ok=True)
    descriptor = os.open(os.path.join(model_dir, LOCK), os.O_RDWR | os.O_CREAT, 0o666)
  except OSError as error:
    raise UserError(f"model_dir {model_dir!r} cannot be written: {error.strerror}") from error
  try:
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except OSError as error:
    os.close(descriptor)
    raise UserError(f"model_dir {model_dir!r} is in use by another run; choose another one") from error
  try:
    yield
  finally:
    if new and os.listdir(model_dir) == [LOCK]:
      shutil.rmtree(model_dir)
    os.close(descriptor)
