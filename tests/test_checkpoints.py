import os
import pathlib

import numpy as np
import pytest

from tf_madry import checkpoints, files
from tf_madry.config import Config
from tf_madry.errors import UserError

CONFIG = Config()


def save(folder, step, keep=3):
  arrays = {"step": np.int64(step), "weights": np.full(5000, step, np.float32)}
  return checkpoints.save(str(folder), step, CONFIG, arrays, keep=keep)


def test_what_was_saved_is_read(tmp_path):
  path = save(tmp_path, 7)
  checkpoint = checkpoints.read(path)
  assert checkpoint.step == 7
  assert Config.from_values(checkpoint.values) == Config.from_values(CONFIG.values())
  np.testing.assert_array_equal(checkpoint.arrays["weights"], np.full(5000, 7, np.float32))


def test_the_newest_are_kept(tmp_path):
  for step in (100, 200, 300, 400):
    save(tmp_path, step, keep=2)
  assert [os.path.basename(path) for path in checkpoints.list_paths(str(tmp_path))] == [
      "step-00000400.npz", "step-00000300.npz"]
  assert checkpoints.read_newest(str(tmp_path)).step == 400


def test_no_checkpoint_is_none(tmp_path):
  assert checkpoints.read_newest(str(tmp_path)) is None


def truncate(path):
  os.truncate(path, os.path.getsize(path) // 2)


def empty(path):
  os.truncate(path, 0)


def flip_a_bit(path):
  with open(path, "r+b") as file:
    file.seek(os.path.getsize(path) // 2)
    byte = file.read(1)
    file.seek(-1, os.SEEK_CUR)
    file.write(bytes([byte[0] ^ 1]))


def garbage(path):
  with open(path, "wb") as file:
    file.write(b"no archive at all" * 100)


@pytest.mark.parametrize("damage", [truncate, empty, flip_a_bit, garbage])
def test_a_damaged_newest_is_reported_and_the_one_before_it_used(tmp_path, capsys, damage):
  save(tmp_path, 100)
  damaged = save(tmp_path, 200)
  damage(damaged)
  assert checkpoints.read_newest(str(tmp_path)).step == 100
  assert "step-00000200.npz" in capsys.readouterr().err
  with pytest.raises(UserError, match="is damaged"):
    checkpoints.load_model(damaged)


def test_when_none_is_whole_nothing_is_touched(tmp_path):
  paths = [save(tmp_path, 100), save(tmp_path, 200)]
  for path in paths:
    truncate(path)
  before = [pathlib.Path(path).read_bytes() for path in paths]
  with pytest.raises(UserError, match="none of the 2 checkpoints"):
    checkpoints.read_newest(str(tmp_path))
  assert [pathlib.Path(path).read_bytes() for path in paths] == before


def test_pickles_are_not_executed(tmp_path):
  class Bomb:
    def __reduce__(self):
      return os.mkdir, (str(tmp_path / "executed"),)

  path = str(tmp_path / "step-00000001.npz")
  np.savez(path, weights=np.array([Bomb()], dtype=object), allow_pickle=True)
  with pytest.raises(checkpoints.DamagedError):
    checkpoints.read(path)
  assert not (tmp_path / "executed").exists()


def test_a_full_disk_leaves_earlier_checkpoints_and_no_debris(tmp_path, monkeypatch):
  save(tmp_path, 100)

  def fails(*arrays, **more):
    arrays[0].write(b"the beginning")
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(np, "savez", fails)
  with pytest.raises(UserError, match="No space left on device; earlier checkpoints are intact"):
    save(tmp_path, 200)
  assert os.listdir(tmp_path / "checkpoints") == ["step-00000100.npz"]
  assert checkpoints.read_newest(str(tmp_path)).step == 100


def test_weights_of_another_shape_change_nothing():
  import tensorflow as tf
  variables = {"a": tf.Variable([1.0, 2.0]), "b": tf.Variable([3.0])}
  checkpoint = checkpoints.Checkpoint(1, {}, {"a": np.zeros(2, np.float32), "b": np.zeros(3, np.float32)}, "file")
  with pytest.raises(UserError, match=r"b of 'file' is \(3,\), accepted: an array of shape \(1,\)"):
    checkpoints.restore(variables, checkpoint)
  np.testing.assert_array_equal(variables["a"], [1.0, 2.0])


def test_a_directory_belongs_to_one_run(tmp_path):
  folder = str(tmp_path / "run")
  with files.exclusive(folder), pytest.raises(UserError, match="in use by another run"), files.exclusive(folder):
    pass
  with files.exclusive(folder):  # free again
    pass
