"""Two accuracies on the same images, compared image by image."""

import math
from typing import Any, NamedTuple

from tf_madry.errors import require
from tf_madry.evaluation.intervals import wilson
from tf_madry.studies.lab import packing

SIGNIFICANT = 0.05  # p below it tells two accuracies apart
Z = 1.959964  # of a 95 % interval


class Paired(NamedTuple):
  """Of `n` images, how many are right with the one alone and how many with the other alone."""

  n: int
  only_first: int
  only_second: int

  @property
  def difference(self) -> float:
    """Accuracy of the first minus that of the second."""
    return (self.only_first - self.only_second) / self.n

  @property
  def interval(self) -> tuple[float, float]:
    """The 95 % interval of the difference.

    It is the adjusted Wald interval for paired proportions (Bonett and Price 2012).
    """
    first, second = (self.only_first + 1) / (self.n + 2), (self.only_second + 1) / (self.n + 2)
    half = Z * math.sqrt((first + second - (first - second) ** 2) / (self.n + 2))
    return first - second - half, first - second + half

  @property
  def p(self) -> float:
    """McNemar's test, exact and two-sided (McNemar 1947).

    The chance of a split as uneven as this one, if both were equally good.
    """
    apart, fewer = self.only_first + self.only_second, min(self.only_first, self.only_second)
    return min(1.0, 2 * sum(math.comb(apart, number) for number in range(fewer + 1)) / 2**apart)

  @property
  def verdict(self) -> int:
    """1: the first is better, -1: the second is, 0: these images do not tell them apart."""
    if self.p >= SIGNIFICANT:
      return 0
    return 1 if self.only_first > self.only_second else -1

  def __str__(self) -> str:
    low, high = self.interval
    p = f"p = {self.p:.2g}" if self.p >= 1e-4 else "p < 0.0001"
    return (f"{100 * self.difference:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f}; McNemar "
            f"{p}, n = {self.n:,})")


class Unpaired(NamedTuple):
  """Two accuracies on `n` images each, of which nobody kept which images are right.

  As if they were of other images: the interval is wider than that of pairs, and tells less apart.
  """

  n: int
  first: float
  second: float

  @property
  def difference(self) -> float:
    """Accuracy of the first minus that of the second."""
    return self.first - self.second

  @property
  def interval(self) -> tuple[float, float]:
    """The 95 % interval of the difference, of the two accuracies' own (Newcombe 1998)."""
    (low, high), (other_low, other_high) = (wilson(value, self.n)
                                            for value in (self.first, self.second))
    return (self.difference - math.hypot(self.first - low, other_high - self.second),
            self.difference + math.hypot(high - self.first, self.second - other_low))

  @property
  def p(self) -> float:
    """The two-sided test of two proportions, by the normal distribution."""
    pooled = (self.first + self.second) / 2
    deviation = math.sqrt(2 * pooled * (1 - pooled) / self.n)
    return math.erfc(abs(self.difference) / deviation / math.sqrt(2)) if deviation else 1.0

  @property
  def verdict(self) -> int:
    """As that of `Paired`."""
    if self.p >= SIGNIFICANT:
      return 0
    return 1 if self.difference > 0 else -1

  def __str__(self) -> str:
    low, high = self.interval
    return (f"{100 * self.difference:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f}; not "
            f"paired, n = {self.n:,})")


def compare(first: dict[str, Any], second: dict[str, Any]) -> Paired | Unpaired:
  """Compares two measurements on examples spread over the same split.

  Where one has fewer examples, they are compared on those. Measurements of earlier versions, which
  kept no outcomes by image, are compared as if they were of other images.

  Args:
    first, second: `n`, `adversarial_accuracy` and `right`, as `Lab.accuracy` returns them.

  Raises:
    UserError: the examples of the one are not among those of the other.
  """
  n = min(first["n"], second["n"])
  if "right" not in first or "right" not in second:
    return Unpaired(n, first["adversarial_accuracy"], second["adversarial_accuracy"])
  outcomes = []
  for one in (first, second):
    require(one["n"] % n == 0, "n", one["n"], f"a multiple of {n:,}, to be compared with that")
    outcomes.append(packing.unpack_bits(one["right"], one["n"])[::one["n"] // n])
  a, b = outcomes
  return Paired(n, int((a & ~b).sum()), int((b & ~a).sum()))
