"""Accuracies compared image by image."""

import numpy as np
import pytest

from tf_madry.errors import UserError
from tf_madry.studies.lab import packing, paired
from tf_madry.studies.lab.paired import Paired


def measured(right):
  return {"n": len(right), "right": packing.pack_bits(np.array(right, bool))}


def test_only_images_that_one_alone_has_right_count():
  found = paired.compare(measured([1, 1, 1, 0, 0, 1]), measured([1, 0, 0, 0, 1, 1]))
  assert found == (6, 2, 1) and found.difference == pytest.approx(1 / 6)


def test_mcnemars_exact_test_and_the_interval_are_those_of_the_books():
  # 2 P(X <= 3), X binomial of 16 tosses.
  assert Paired(100, 13, 3).p == pytest.approx(2 * (1 + 16 + 120 + 560) / 2**16)
  assert Paired(100, 5, 5).p == 1 and Paired(100, 0, 0).p == 1
  # Bonett and Price 2012: (14 - 4)/102 with the standard error of the adjusted shares.
  low, high = Paired(100, 13, 3).interval
  assert (low + high) / 2 == pytest.approx(10 / 102)
  assert (high - low) / 2 == pytest.approx(1.959964 * (((18 / 102) - (10 / 102) ** 2) / 102) ** 0.5)


def test_a_verdict_needs_significance():
  assert [Paired(100, *split).verdict for split in ((13, 3), (3, 13), (6, 4))] == [1, -1, 0]


def test_fewer_examples_are_compared_with_the_same_ones_among_more():
  right = np.zeros(20, bool)
  right[[0, 5, 10, 15]] = True  # every fifth: those that 4 of 20 are
  assert paired.compare(measured(right), measured([1, 1, 0, 1])) == (4, 1, 0)
  with pytest.raises(UserError, match="n is 20, accepted: a multiple of 3"):
    paired.compare(measured(right), measured([1, 1, 0]))




def test_measurements_without_outcomes_by_image_are_told_apart_by_their_accuracies():
  def measured(accuracy, n=400):
    return {"n": n, "adversarial_accuracy": accuracy}

  apart = paired.compare(measured(0.9), measured(0.8))
  assert apart.verdict == 1 and apart.p < 1e-3
  low, high = apart.interval
  assert low == pytest.approx(0.0504, abs=2e-3) and high == pytest.approx(0.1496, abs=2e-3)
  assert paired.compare(measured(0.8), measured(0.9)).verdict == -1
  near = paired.compare(measured(0.9), measured(0.88))
  assert near.verdict == 0 and near.interval[0] < 0 < near.interval[1]
  assert "not paired" in str(near)
  # At the ends nothing is left to chance, and nothing is divided by.
  assert paired.compare(measured(1.0), measured(1.0)).verdict == 0
