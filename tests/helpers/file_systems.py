"""File systems that refuse, simulated: system calls that fail as they do there."""

import errno
import os
import stat


def refusing(call, code, when=lambda *_, **__: True):
  """A system call that fails with an error of that number where `when` of its arguments holds."""
  def refuse(*arguments, **options):
    if when(*arguments, **options):
      raise OSError(code, os.strerror(code), *[path for path in arguments[:1] if isinstance(path, str)])
    return call(*arguments, **options)
  return refuse


def of_a_folder(target, *_, **__):
  """Whether a path or descriptor is of a folder."""
  return stat.S_ISDIR(os.fstat(target).st_mode) if isinstance(target, int) else os.path.isdir(target)


def read_only(monkeypatch, folder):
  """Makes a folder, and all that is in it, one of a file system that was mounted to be read alone."""
  def inside(path, *_, **__):
    return not isinstance(path, int) and (os.path.realpath(os.fspath(path)) + os.sep).startswith(str(folder) + os.sep)

  def writes(path, flags=0, *_, **__):
    return inside(path) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))

  access = os.access
  for name in ("mkdir", "replace", "remove", "rename"):
    monkeypatch.setattr(os, name, refusing(getattr(os, name), errno.EROFS, inside))
  monkeypatch.setattr(os, "open", refusing(os.open, errno.EROFS, writes))
  monkeypatch.setattr(os, "access", lambda path, mode, **options: (
      access(path, mode, **options) and not (mode & os.W_OK and inside(path))))
