"""The interval that belongs to an accuracy."""

import math


def wilson(accuracy: float, n: int, z: float = 1.959964) -> tuple[float, float]:
  """The 95 % interval of a proportion that was measured on n examples (Wilson 1927).

  Returns:
    (low, high), both in [0, 1].
  """
  centre = (accuracy + z * z / (2 * n)) / (1 + z * z / n)
  half = z * math.sqrt(accuracy * (1 - accuracy) / n + z * z / (4 * n * n)) / (1 + z * z / n)
  # Accuracies of 0 and 1 are ends of their intervals, which rounding can put a hair inside.
  return max(0.0, min(accuracy, centre - half)), min(1.0, max(accuracy, centre + half))


def percent_interval(accuracy: float, n: int) -> str:
  """The interval as text."""
  low, high = wilson(accuracy, n)
  return f"{low:.2%} to {high:.2%}"
