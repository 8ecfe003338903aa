"""The batches of a run: every example once an epoch, by seed and step alone."""

import numpy as np

from tests.helpers.errors import error_of
from tf_madry.datasets import Batches


def test_every_example_once_an_epoch_across_borders():
  n, size, epochs = 10, 4, 6  # 60 places, 15 batches: some lie across the border of two epochs
  batches = Batches(n, size, seed=3)
  pieces = [batches.indices(step) for step in range(epochs * n // size)]
  assert all(piece.dtype == np.int32 and piece.shape == (size,) for piece in pieces)
  stream = np.concatenate(pieces).reshape(epochs, n)
  np.testing.assert_array_equal(np.sort(stream, axis=1), np.tile(np.arange(n), (epochs, 1)))


def test_stream_does_not_depend_on_the_batch_size():
  def stream(size):
    batches = Batches(12, size, seed=5)
    return np.concatenate([batches.indices(step) for step in range(36 // size)])

  np.testing.assert_array_equal(stream(12), stream(4))
  np.testing.assert_array_equal(stream(12), stream(9))


def test_batches_depend_on_nothing_but_seed_and_step():
  steps = [0, 1000, 3, 429, 430, 860, 3, 10**9]
  batches = Batches(55_000, 128, seed=7)
  expected = [batches.indices(step) for step in steps]
  for step, indices in reversed(list(zip(steps, expected, strict=True))):
    Batches(55_000, 128, seed=8).indices(step)
    np.testing.assert_array_equal(Batches(55_000, 128, seed=7).indices(step), indices)


def test_what_a_caller_does_to_a_batch_stays_with_the_caller():
  batches = Batches(10, 4, seed=0)
  expected = batches.indices(0).copy()
  batches.indices(0)[:] = -1
  np.testing.assert_array_equal(batches.indices(0), expected)


def test_batches_stay_as_they_are():
  # A resumed run needs the order its first part had, whatever NumPy and this package have become since.
  assert Batches(10, 10, seed=0).indices(0).tolist() == [4, 6, 3, 5, 2, 9, 1, 0, 7, 8]
  assert Batches(55_000, 4, seed=4557077).indices(100_000).tolist() == [1364, 13958, 26582, 39410]


def test_each_epoch_and_seed_has_its_own_permutation():
  orders = [tuple(Batches(50, 50, seed).indices(epoch)) for seed in (0, 1, 2**40) for epoch in range(20)]
  assert len(set(orders)) == len(orders)


def test_permutations_are_fair():
  # Each of 5 examples comes first in about 1,000 of 5,000 epochs: 5 standard deviations are 141.
  first = [Batches(5, 5, seed=11).indices(epoch)[0] for epoch in range(5_000)]
  assert np.abs(np.bincount(first, minlength=5) - 1_000).max() < 141


def test_impossible_batches_are_refused():
  message = error_of(Batches, 100, 101, 0)
  assert "101" in message and "100" in message
  assert "0" in error_of(Batches, 100, 0, 0)
  assert "-1" in error_of(Batches, 100, 10, -1)
  assert sorted(Batches(100, 100, 0).indices(1)) == list(range(100))
