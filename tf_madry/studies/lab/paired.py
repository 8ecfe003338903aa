"""Two accuracies on the same images, compared image by image."""

import math
from typing import Any, NamedTuple

from tf_madry.errors import require
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


def compare(first: dict[str, Any], second: dict[str, Any]) -> Paired:
  """Compares two measurements on examples spread over the same split.

  Where one has fewer examples, they are compared on those.

  Args:
    first, second: `n` and `right`, as `Lab.accuracy` returns them.

  Raises:
    UserError: the examples of the one are not among those of the other.
  """
  n = min(first["n"], second["n"])
  outcomes = []
  for one in (first, second):
    require(one["n"] % n == 0, "n", one["n"], f"a multiple of {n:,}, to be compared with that")
    outcomes.append(packing.unpack_bits(one["right"], one["n"])[::one["n"] // n])
  a, b = outcomes
  return Paired(n, int((a & ~b).sum()), int((b & ~a).sum()))
