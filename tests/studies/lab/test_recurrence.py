"""Whether cycles are found where there are any."""

import numpy as np
import pytest

from tf_madry.studies.lab import recurrence


def moving(steps, cycle):
  """Perturbations [steps, 2, 6, 6, 1]: noise, and a bar if there is a cycle.

  The bar comes back after `cycle` frames.
  """
  random = np.random.default_rng(1)
  frames = random.uniform(-1, 1, (steps, 2, 12, 6, 1)).astype(np.float32)
  if cycle:
    for number, frame in enumerate(frames):
      frame[:, round(number % cycle * 12 / cycle) % 12] = 1
      frame[:, round((number % cycle - 1) * 12 / cycle) % 12] = 1
  return frames


@pytest.mark.parametrize("cycle", [None, 6, 12])
def test_cycles_are_found_where_there_are_any(cycle):
  lags = recurrence.recurrences(*recurrence.autocorrelation(moving(48, cycle)))
  assert lags == ([] if cycle is None else list(range(cycle, 32, cycle)))


def test_the_period_is_the_mean_distance_of_peaks_of_which_there_must_be_two():
  lags = np.arange(61)
  # What decays takes the first peak away from the period, 18.4.
  wave = np.cos(2 * np.pi * lags / 18.4) * (1 + 1.5 * np.exp(-lags / 8)) / 2.5
  found = recurrence.recurrences(wave, 0.05)
  assert found[-1] / len(found) == pytest.approx(18.4, abs=1 / len(found)) and len(found) == 3
  assert recurrence.recurrences(wave[:30], 0.05) == []


def test_a_series_too_short_for_a_cycle_has_none():
  correlation, level = recurrence.autocorrelation(moving(3, None))
  assert len(correlation) == 0 and level is None
  assert recurrence.recurrences(correlation, level) == []


def test_a_segment_is_smoother_than_noise_and_common_to_all_examples():
  noise, segment = moving(20, None), np.zeros((20, 2, 12, 6, 1), np.float32)
  segment[:, :, 3:6] = 1
  assert abs(recurrence.neighbours_alike(noise)) < 0.1 < 0.5 < recurrence.neighbours_alike(segment)
  assert recurrence.common(noise) == pytest.approx(1 / 2, abs=0.05)
  assert recurrence.common(segment) == pytest.approx(1)
