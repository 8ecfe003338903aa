import os
import pathlib
import shutil
import zipfile

import numpy as np
import pytest

from tf_madry import checkpoints
from tf_madry.config import Config
from tf_madry.errors import UserError
from tf_madry.models import loading
from tf_madry.runtime import files

CONFIG = Config()


def save(folder, step, keep=3):
  arrays = {"step": np.int64(step), "weights": np.full(5000, step, np.float32), "image_shape": np.int32([28, 28, 1]),
            "num_classes": np.int32(10)}
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


def test_later_ones_that_were_passed_over_go_and_the_one_just_written_stays(tmp_path):
  for step in (100, 200, 300, 400):
    save(tmp_path, step, keep=4)
  save(tmp_path, 250, keep=2)
  assert [os.path.basename(path) for path in checkpoints.list_paths(str(tmp_path))] == [
      "step-00000250.npz", "step-00000200.npz"]


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


def with_arrays(**changed):
  """Damage: other arrays in a sound archive; None takes one out."""
  def damage(path):
    with np.load(path) as archive:
      arrays = {name: archive[name] for name in archive.files} | changed
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
  return damage


def with_bytes(start, offset, value):
  """Damage: other bytes, so far behind the first place where some others are."""
  def damage(path):
    content = bytearray(pathlib.Path(path).read_bytes())
    place = content.index(start) + offset
    content[place:place + len(value)] = value
    pathlib.Path(path).write_bytes(content)
  return damage


def with_header(text):
  """Damage: another header of an array, whole by its checksum."""
  def damage(path):
    header = text.encode().ljust(117) + b"\n"
    with zipfile.ZipFile(path, "a") as archive:
      archive.writestr("more.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
  return damage


DIRECTORY = b"PK\x01\x02"  # the beginning of an entry in an archive's directory


@pytest.mark.parametrize(("damage", "said"), [
    (truncate, ""), (empty, "it is not a checkpoint"), (flip_a_bit, "CRC"), (garbage, "it is not a checkpoint, which is an .npz"),
    (with_arrays(weights=None), "weights is missing"), (with_arrays(num_classes=None), "num_classes is missing"),
    (with_arrays(**{"arrays.json": None, "image_shape": None}), "image_shape is missing"),
    (with_arrays(**{"config.json": np.array("[1]")}), r"config.json is \[1\]"),
    (with_arrays(**{"config.json": np.array("null")}), "config.json is None"),
    (with_arrays(**{"config.json": np.array("{")}), ""), (with_arrays(**{"arrays.json": np.array("1")}), ""),
    (with_arrays(image_shape=np.int32([28, 28])), r"image_shape and num_classes are \[28, 28, 10\]"),
    (with_arrays(image_shape=np.int32(28)), ""), (with_arrays(num_classes=np.int32(0)), r"are \[28, 28, 1, 0\]"),
    (with_arrays(num_classes=np.float32("nan")), ""), (with_arrays(step=np.int64([1, 2])), ""),
    (with_bytes(DIRECTORY, 6, b"\xff"), "version"), (with_bytes(DIRECTORY, 8, b"\x01"), "encrypted"),
    (with_header("{'descr': '<f4', 'shape': (1"), ""), (with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (10**30,)}"), ""),
    (with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000000,)}"), ""),
])
def test_a_damaged_newest_is_reported_and_the_one_before_it_used(tmp_path, capsys, damage, said):
  save(tmp_path, 100)
  damaged = save(tmp_path, 200)
  damage(damaged)
  assert checkpoints.read_newest(str(tmp_path)).step == 100
  assert "step-00000200.npz" in capsys.readouterr().err
  with pytest.raises(UserError, match=f"is damaged: .*{said}") as error:
    loading.load_model(damaged)
  assert "\n" not in str(error.value) and "unsafe" not in str(error.value)


def test_a_checkpoint_that_does_not_list_its_arrays_is_one_of_old(tmp_path):
  path = save(tmp_path, 100)
  with_arrays(**{"arrays.json": None})(path)
  assert checkpoints.read(path).step == 100


def test_a_file_of_the_same_name_as_that_of_tensorflow_is_none(tmp_path):
  (tmp_path / "checkpoint").write_bytes(bytes(range(256)))
  with pytest.raises(UserError, match="accepted: a directory with a checkpoint in it"):
    loading.load_model(str(tmp_path))


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
  with pytest.raises(UserError, match=r"No space left on device$"):
    save(tmp_path / "other", 200)
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


def test_folders_that_were_made_for_nothing_go_again_and_hide_no_error(tmp_path):
  folder = tmp_path / "models" / "run"
  for vanishes in (False, True):
    with pytest.raises(RuntimeError), files.exclusive(str(folder)):
      checkpoints.prepare(str(folder))
      if vanishes:
        shutil.rmtree(folder)
      raise RuntimeError
    assert os.listdir(tmp_path) == []
  with files.exclusive(str(folder)):
    save(folder, 1)
  assert checkpoints.read_newest(str(folder)).step == 1


def test_what_killed_writers_left_behind_goes(tmp_path):
  path = save(tmp_path, 1)
  for folder in (tmp_path, tmp_path / "checkpoints"):
    (folder / ".tmp-abc").write_bytes(b"half a ")
  (tmp_path / "checkpoints" / ".tmp-folder").mkdir()
  with files.exclusive(str(tmp_path)):
    checkpoints.prepare(str(tmp_path))
  assert sorted(os.listdir(tmp_path)) == [".lock", ".tmp-abc", "checkpoints"]  # the outer may be somebody else's
  assert sorted(os.listdir(tmp_path / "checkpoints")) == [".tmp-folder", os.path.basename(path)]
