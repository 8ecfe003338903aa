"""File systems that refuse to confirm, to lock, to change permissions, or to be written at all."""

import errno
import fcntl
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.helpers.file_systems import of_a_folder, refusing
from tests.helpers.processes import ROOT
from tf_madry.errors import UserError
from tf_madry.evaluation import attack_files
from tf_madry.runtime import files

REFUSALS = (errno.EINVAL, errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


def write(path, content=b"whole"):
  with files.output("record", str(path)) as file:
    file.write(content)


@pytest.mark.parametrize("code", REFUSALS, ids=errno.errorcode.get)
@pytest.mark.parametrize("when", [of_a_folder, lambda *_: True], ids=["folders", "everything"])
def test_a_file_is_written_where_fsync_is_refused(tmp_path, monkeypatch, code, when):
  monkeypatch.setattr(os, "fsync", refusing(os.fsync, code, when))
  write(tmp_path / "record")
  assert (tmp_path / "record").read_bytes() == b"whole"
  assert os.listdir(tmp_path) == ["record"]


def test_a_disk_that_fails_is_an_error_still(tmp_path, monkeypatch):
  monkeypatch.setattr(os, "fsync", refusing(os.fsync, errno.EIO))
  with pytest.raises(UserError, match="cannot be written: Input/output error"):
    write(tmp_path / "record")
  assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("code", REFUSALS, ids=errno.errorcode.get)
def test_a_folder_is_used_where_locks_are_refused(tmp_path, monkeypatch, code):
  monkeypatch.setattr(fcntl, "flock", refusing(fcntl.flock, code))
  with files.exclusive(str(tmp_path / "run"), "record"):
    write(tmp_path / "run" / "record")
  assert (tmp_path / "run" / "record").read_bytes() == b"whole"


def test_a_file_is_written_where_permissions_are_the_mounts(tmp_path, monkeypatch):
  monkeypatch.setattr(os, "chmod", refusing(os.chmod, errno.EPERM))
  write(tmp_path / "record")
  assert (tmp_path / "record").read_bytes() == b"whole"


def test_a_file_is_written_to_a_folder_that_cannot_be_listed(tmp_path, monkeypatch):
  monkeypatch.setattr(os, "open", refusing(os.open, errno.EACCES, of_a_folder))
  write(tmp_path / "record")
  assert (tmp_path / "record").read_bytes() == b"whole"


def test_a_colleagues_lock_is_one(tmp_path, monkeypatch):
  lock = tmp_path / files.LOCK
  lock.touch()
  monkeypatch.setattr(os, "open", refusing(os.open, errno.EACCES,
                                           lambda path, flags, *_, **__: path == str(lock) and flags & os.O_RDWR))
  access = os.access
  monkeypatch.setattr(os, "access", lambda path, mode: path != str(lock) and access(path, mode))
  with files.exclusive(str(tmp_path)):
    write(tmp_path / "record")
    with pytest.raises(UserError, match="in use by another run"), files.exclusive(str(tmp_path)):
      pass


def test_what_is_not_guaranteed_is_said_once(tmp_path):
  script = ("import errno, fcntl, os\nfrom tests.helpers.file_systems import refusing\nfrom tf_madry.runtime import files\n"
            "os.fsync = refusing(os.fsync, errno.EINVAL)\nfcntl.flock = refusing(fcntl.flock, errno.ENOLCK)\n"
            "for name in 'abc':\n  with files.exclusive(name), files.replacing(name + '/x'), files.replacing(name + '/y'): pass")
  errors = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, stderr=subprocess.PIPE, text=True,
                          env=os.environ | {"PYTHONPATH": str(ROOT)}).stderr
  assert sorted(errors.splitlines()) == [f"note: the file system of 'a' {lack}"
                                         for lack in sorted((files.UNCONFIRMED, files.UNLOCKED))]


def test_an_attack_file_is_read_where_nothing_is_mapped(tmp_path, monkeypatch):
  images = np.zeros((3, 4, 4, 1), np.uint8)
  np.save(tmp_path / "attack.npy", np.full((3, 16), 0.25, np.float32))
  monkeypatch.setattr(np, "load", refusing(np.load, errno.ENODEV, lambda *_, **options: options.get("mmap_mode")))
  assert attack_files.read_attack(str(tmp_path / "attack.npy"), images, 0.3).largest == 0.25


def test_a_lock_that_fails_is_an_error_still(tmp_path, monkeypatch):
  monkeypatch.setattr(fcntl, "flock", refusing(fcntl.flock, errno.EIO))
  with pytest.raises(UserError, match=r"^record '.*' cannot be locked: Input/output error$"), \
      files.exclusive(str(tmp_path), "record"):
    pass
