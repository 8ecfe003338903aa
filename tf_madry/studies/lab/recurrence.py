"""Whether perturbations of the same examples come back, and what they look like.

Perturbations are float arrays [frames, examples, height, width, channels] in units of ε.
"""

import numpy as np

FEWEST_FRAMES = 4  # that have an autocorrelation
SHUFFLES = 200  # random orders of the frames, to know what chance makes


def neighbours_alike(frames: np.ndarray) -> float | None:
  """Correlation of pixels with those to the right and below, 0 for noise.

  The mean over frames and examples.
  """
  images = frames[..., 0] - frames[..., 0].mean((-2, -1), keepdims=True)
  power = (images**2).mean()
  products = (images[..., 1:] * images[..., :-1]).mean(), (images[..., 1:, :]
                                                           * images[..., :-1, :]).mean()
  return float(np.mean(products) / power) if power else None


def common(frames: np.ndarray) -> float | None:
  """Share of the perturbations' power that all examples have in common at a time.

  For noise it is one in as many as there are examples.
  """
  power = (frames**2).mean()
  return float((frames.mean(1) ** 2).mean() / power) if power else None


def autocorrelation(frames: np.ndarray) -> tuple[np.ndarray, float | None]:
  """How much the perturbations of the same examples are alike at some distance in time.

  What stays the same all the time is taken away first: it is no cycle.

  Args:
    frames: float array [frames, …].

  Returns:
    (correlation, level): [lags], 1 at lag 0, for lags up to two thirds of the frames; and what the
    largest of the others stays below in 95 of 100 random orders of the frames. ([], None) for fewer
    than `FEWEST_FRAMES`.
  """
  if len(frames) < FEWEST_FRAMES:
    return np.zeros(0), None
  flat = frames.reshape(len(frames), -1).astype(np.float64)
  flat -= flat.mean(0)
  products = flat @ flat.T
  random = np.random.default_rng(0)
  orders = (random.permutation(len(frames)) for _ in range(SHUFFLES))
  largest = [_at_lags(products[np.ix_(order, order)])[1:].max() for order in orders]
  return _at_lags(products), float(np.quantile(largest, 0.95))


def _at_lags(products):
  power = np.trace(products) / len(products) or 1.0
  return np.array([np.diagonal(products, lag).mean()
                   for lag in range(2 * len(products) // 3 + 1)]) / power


def recurrences(correlation: np.ndarray, level: float | None) -> list[int]:
  """The lags at which perturbations come back for the first time, the second, and so on.

  [] if they do not come back twice.

  Peaks count that lie behind the first lag at which perturbations are no longer alike (below 0) and
  above the level of chance. A cycle has one near every multiple of its period: the first of those
  that are nearly as high as the highest is the first, and what lies around 0 draws it a little away
  from the period. The last by its number is nearer to it.
  """
  apart = np.flatnonzero(correlation < 0)
  if not len(apart):
    return []
  peaks = [lag for lag in range(apart[0] + 1, len(correlation) - 1)
           if correlation[lag] == correlation[lag - 1:lag + 2].max()
           and correlation[lag] > max(level, 0.0)]
  found = [lag for lag in peaks if correlation[lag] > 0.8 * correlation[peaks].max()][:1]
  while found:
    expected = found[-1] * (len(found) + 1) / len(found)
    nearest = min(peaks, key=lambda lag, expected=expected: abs(lag - expected))
    if abs(nearest - expected) > found[0] / 4:
      break
    found.append(nearest)
  return found if len(found) > 1 else []
