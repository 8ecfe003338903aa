"""Histograms of staleness."""

from tf_madry.asynchronous import ages


def test_histograms_are_of_the_ages_that_they_give_back():
  first, second = ages.histogram([3, 0, 3, 10]), ages.histogram([2])
  assert first == {"0": 1, "3": 2, "10": 1}
  assert list(first) == ["0", "3", "10"]
  assert ages.of(first, second).tolist() == [0, 2, 3, 3, 10]
  assert ages.of().tolist() == []
