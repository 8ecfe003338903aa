"""The interval of an accuracy."""

import pytest

from tf_madry.evaluation.intervals import wilson


@pytest.mark.parametrize("n", [10, 500, 9_999])
def test_an_interval_holds_its_accuracy(n):
  for right in (0, 1, n // 2, n):
    low, high = wilson(right / n, n)
    assert 0 <= low <= right / n <= high <= 1 and low < high
  assert wilson(0.0, n)[0] == 0 and wilson(1.0, n)[1] == 1
