"""Weights on their way to the workers, in files and in memory, under the same faults."""

import copy
import multiprocessing
import os
import resource
import time

import numpy as np
import pytest

from tests.helpers.others import arrays, limited, publish, publish_until_killed
from tests.helpers.processes import until
from tf_madry.asynchronous.local.weights import SharedWeights
from tf_madry.asynchronous.weights import KEPT, SavedWeights
from tf_madry.errors import UserError
from tf_madry.runtime import files

CONTEXT = multiprocessing.get_context("spawn")
SHAPES = {f"layer{number}/kernel": array.shape for number, array in enumerate(arrays(0))}


class InFiles:
  """Weights in files, and how to harm the newest."""

  def __init__(self, folder):
    self.folder = folder / "weights"
    self.ours = SavedWeights(str(folder), SHAPES)
    self.theirs = copy.copy(self.ours)  # as a worker receives them

  def publish(self, step):
    self.ours.publish(step, arrays(step))
    until(lambda: list(self.folder.glob(f"step-*{step}.npz")))

  def newest(self):
    return max(self.folder.glob("step-*.npz"))

  def cut(self):
    os.truncate(self.newest(), 1000)

  def overwrite(self):
    with open(self.newest(), "r+b") as file:
      file.seek(1_000_000)
      file.write(bytes(8))
      file.write(b"\xff")


class InMemory:
  """Weights in memory, and how to harm the newest."""

  def __init__(self, _):
    self.ours = SharedWeights(list(SHAPES.values()))
    self.theirs = copy.copy(self.ours)
    self.published = 0

  def publish(self, step):
    self.ours.publish(step, arrays(step))
    self.published += 1

  def cut(self):
    self.ours._contents[self.published % 2][1000:] = 0

  def overwrite(self):
    self.ours._contents[self.published % 2][5] ^= np.uint64(1)


@pytest.fixture(params=[InFiles, InMemory])
def weights(request, tmp_path):
  both = request.param(tmp_path)
  yield both
  both.ours.close()


def same_arrays(left, right):
  return all(np.array_equal(*pair) for pair in zip(left, right, strict=True))


def test_the_newest_weights_are_fetched_once(weights):
  assert weights.theirs.fetch() is None
  for step in (0, 10, 20):
    weights.publish(step)
  assert same_arrays(weights.theirs.fetch(), arrays(20))
  assert weights.theirs.step == 20
  assert weights.theirs.fetch() is None


@pytest.mark.parametrize("harm", ["cut", "overwrite"])
def test_damaged_weights_are_reported_once_and_those_before_stay(weights, harm, capsys):
  weights.publish(10)
  assert same_arrays(weights.theirs.fetch(), arrays(10))
  weights.publish(20)
  getattr(weights, harm)()
  assert weights.theirs.fetch() is None and weights.theirs.fetch() is None
  assert weights.theirs.step == 10
  error = capsys.readouterr().err
  assert error.startswith("warning: ") and error.count("\n") == 1 and "damaged" in error
  weights.publish(30)
  assert same_arrays(weights.theirs.fetch(), arrays(30))


@pytest.mark.parametrize("harm", ["cut", "overwrite"])
def test_who_has_no_weights_yet_waits_for_whole_ones(weights, harm, capsys):
  weights.publish(10)
  getattr(weights, harm)()
  assert weights.theirs.fetch() is None
  assert "damaged" in capsys.readouterr().err
  weights.publish(20)
  assert same_arrays(weights.theirs.fetch(), arrays(20))


def test_a_writer_killed_in_the_middle_leaves_whole_weights(weights, tmp_path, capsys):
  # In memory a kill may hit the first snapshot, so that there is none: whoever comes later starts
  # with one.
  weights.publish(0)
  for number in range(4):
    writer = CONTEXT.Process(target=publish_until_killed, args=(weights.ours,), daemon=True)
    writer.start()
    reader = copy.copy(weights.ours)
    until(lambda reader=reader: reader.fetch() and reader.step)
    time.sleep(0.01 * number)
    writer.kill()
    writer.join()
    for one in (reader, copy.copy(weights.ours)):
      found = one.fetch()
      assert one.step > 0 and (found is None or same_arrays(found, arrays(one.step)))
  assert capsys.readouterr().err == ""


def test_weights_are_never_torn(weights, capsys):
  stop, connection = CONTEXT.Pipe()
  process = CONTEXT.Process(target=publish, args=(weights.ours, connection), daemon=True)
  process.start()
  fetched, last = 0, 0
  while fetched < 20:
    if found := weights.theirs.fetch():
      assert same_arrays(found, arrays(weights.theirs.step))
      assert weights.theirs.step > last
      fetched, last = fetched + 1, weights.theirs.step
  stop.send(None)
  process.join()
  assert capsys.readouterr().err == ""


# Where they differ.


def test_a_snapshot_in_memory_that_is_half_written_is_not_there_yet(tmp_path, capsys):
  weights = InMemory(tmp_path)
  for step in (0, 10):
    weights.publish(step)
  with pytest.raises(ZeroDivisionError):
    weights.ours.publish(
      20, (1 / 0 if number else array for number, array in enumerate(arrays(20)))
    )
  assert same_arrays(weights.theirs.fetch(), arrays(10))
  assert weights.theirs.step == 10
  assert weights.theirs.fetch() is None
  assert capsys.readouterr().err == ""


def test_a_full_disk_before_the_first_weights_is_one_line(tmp_path):
  for make in (lambda: InFiles(tmp_path).publish(0), lambda: InMemory(tmp_path)):
    with (
      limited(resource.RLIMIT_FSIZE, 100_000),
      pytest.raises(UserError, match="File too large") as error,
    ):
      make()
    assert "weights" in str(error.value)
  assert os.listdir(tmp_path / "weights") == []


def test_a_full_disk_later_costs_freshness_and_says_so(tmp_path, capsys):
  weights = InFiles(tmp_path)
  weights.publish(0)
  assert same_arrays(weights.theirs.fetch(), arrays(0))
  with limited(resource.RLIMIT_FSIZE, 100_000):
    weights.ours.publish(10, arrays(10))
    weights.ours.wait()  # read while the thread writes, its line could be lost
  assert capsys.readouterr().err == (
    f"warning: the weights of step 10 cannot be written to {str(weights.folder)!r} "
    "(File too large): workers go on with older ones\n"
  )
  assert weights.theirs.fetch() is None
  weights.publish(20)
  assert same_arrays(weights.theirs.fetch(), arrays(20))


def test_the_newest_few_files_are_kept_and_those_of_another_run_are_not(tmp_path):
  first = InFiles(tmp_path)
  for step in range(10, 70, 10):
    first.publish(step)
  first.ours.close()
  names = [f"step-{step:08d}.npz" for step in (40, 50, 60)][-KEPT:]
  assert sorted(os.listdir(first.folder)) == names
  (first.folder / f"{files.TEMPORARY}left").touch()  # by a writer that was killed
  second = InFiles(tmp_path)  # goes on from an earlier step
  second.publish(30)
  assert os.listdir(first.folder) == ["step-00000030.npz"]
  second.ours.close()


def test_weights_of_another_network_are_passed_over(tmp_path, capsys):
  weights = InFiles(tmp_path)
  weights.publish(0)
  other = SavedWeights(str(tmp_path), {"layer0/kernel": (1, 1)})
  assert other.fetch() is None
  assert "layer0/kernel is not float32 (1, 1)" in capsys.readouterr().err
  weights.ours.close()


def test_what_the_writing_thread_raised_is_raised_in_the_trainer(tmp_path, monkeypatch):
  weights = InFiles(tmp_path)
  weights.publish(0)
  monkeypatch.setattr(np, "savez", lambda *_, **__: 1 / 0)
  weights.ours.publish(1, arrays(1))
  with pytest.raises(ZeroDivisionError):
    for step in range(2, 1000):
      time.sleep(0.01)
      weights.ours.publish(step, arrays(step))
  weights.ours.close()
