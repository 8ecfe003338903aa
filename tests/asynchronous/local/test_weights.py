"""Snapshots of the weights that a trainer publishes and its workers fetch."""

import copy
import multiprocessing

import numpy as np
import pytest

from tests.helpers.others import arrays, publish
from tf_madry.asynchronous.local.weights import SharedWeights

CONTEXT = multiprocessing.get_context("spawn")


def same_arrays(left, right):
  return all(np.array_equal(*pair) for pair in zip(left, right, strict=True))


@pytest.fixture
def weights():
  """Those of the trainer, and those that a worker would have received."""
  ours = SharedWeights([array.shape for array in arrays(0)])
  return ours, copy.copy(ours)


def test_the_newest_weights_are_fetched_once(weights):
  ours, theirs = weights
  assert theirs.fetch() is None
  for step in (0, 10, 20):
    ours.publish(step, arrays(step))
  assert same_arrays(theirs.fetch(), arrays(20))
  assert theirs.step == 20
  assert theirs.fetch() is None


def test_a_damaged_snapshot_is_reported_once_and_the_old_weights_stay(weights, capsys):
  ours, theirs = weights
  ours.publish(0, arrays(0))
  ours._contents[1][5] ^= np.uint64(1)
  assert theirs.fetch() is None
  assert capsys.readouterr().err == "warning: snapshot 1 of the weights is damaged: nothing to go on with yet\n"
  ours.publish(1000, arrays(1000))
  assert same_arrays(theirs.fetch(), arrays(1000))
  ours.publish(2000, arrays(2000))
  ours._headers[1]["step"] += 1
  assert theirs.fetch() is None and theirs.fetch() is None
  assert theirs.step == 1000
  assert capsys.readouterr().err == "warning: snapshot 3 of the weights is damaged: going on with those of step 1,000\n"


def test_a_snapshot_that_is_half_written_is_not_there_yet(weights, capsys):
  ours, theirs = weights
  for step in (0, 10):
    ours.publish(step, arrays(step))
  with pytest.raises(ZeroDivisionError):
    ours.publish(20, (1 / 0 if number else array for number, array in enumerate(arrays(20))))
  assert same_arrays(theirs.fetch(), arrays(10))
  assert theirs.step == 10
  assert theirs.fetch() is None
  assert capsys.readouterr().err == ""


def test_weights_are_never_torn(weights, capsys):
  ours, theirs = weights
  stop, connection = CONTEXT.Pipe()
  process = CONTEXT.Process(target=publish, args=(ours, connection), daemon=True)
  process.start()
  fetched, last = 0, 0
  while fetched < 200:
    if found := theirs.fetch():
      assert same_arrays(found, arrays(theirs.step))
      assert theirs.step > last
      fetched, last = fetched + 1, theirs.step
  stop.send(None)
  process.join()
  assert capsys.readouterr().err == ""
