"""Histograms of staleness, as metrics.jsonl has them: {"age in trainer steps": batches}."""

from collections.abc import Iterable, Mapping

import numpy as np


def histogram(ages: Iterable[int]) -> dict[str, int]:
  """The histogram of the ages of single batches, by rising age."""
  steps, counts = np.unique(np.asarray(ages), return_counts=True)
  return dict(zip(map(str, steps.tolist()), counts.tolist(), strict=True))


def of(*histograms: Mapping[str, int]) -> np.ndarray:
  """The ages of all batches in some histograms, in rising order: int64 [batches]."""
  each = [np.repeat(np.int64(list(one)), list(one.values())) for one in histograms]
  return np.sort(np.concatenate(each)) if each else np.int64([])
