"""Whether cycles are found where there are any, and what the long run tells."""

import numpy as np
import pytest

from tests.helpers.studies import SETTINGS, TINY, curve, cycle_data, tiny
from tf_madry.errors import UserError
from tf_madry.studies import cycles
from tf_madry.training import loop

LONG = SETTINGS | {"long": 5.0}


def moving(steps, cycle):
  """Perturbations [steps, 2, 6, 6, 1]: noise, and a bar that comes back after `cycle` frames, if it is one."""
  random = np.random.default_rng(1)
  frames = random.uniform(-1, 1, (steps, 2, 12, 6, 1)).astype(np.float32)
  if cycle:
    for number, frame in enumerate(frames):
      frame[:, round(number % cycle * 12 / cycle) % 12] = 1
      frame[:, round((number % cycle - 1) * 12 / cycle) % 12] = 1
  return frames


@pytest.mark.parametrize("cycle", [None, 6, 12])
def test_cycles_are_found_where_there_are_any(cycle):
  lags = cycles.recurrences(*cycles.autocorrelation(moving(48, cycle)))
  assert lags == ([] if cycle is None else list(range(cycle, 32, cycle)))


def test_the_period_is_the_mean_distance_of_peaks_of_which_there_must_be_two():
  lags = np.arange(61)
  # What decays takes the first peak away from the period, 18.4.
  wave = np.cos(2 * np.pi * lags / 18.4) * (1 + 1.5 * np.exp(-lags / 8)) / 2.5
  found = cycles.recurrences(wave, 0.05)
  assert found[-1] / len(found) == pytest.approx(18.4, abs=1 / len(found)) and len(found) == 3
  assert cycles.recurrences(wave[:30], 0.05) == []


def test_a_series_too_short_for_a_cycle_has_none():
  correlation, level = cycles.autocorrelation(moving(3, None))
  assert len(correlation) == 0 and level is None
  assert cycles.recurrences(correlation, level) == []


def test_the_window_leaves_out_the_beginning_and_the_end_of_training():
  frames, steps = cycles.window(np.arange(10), 80, 8)
  assert steps == [16, 24, 32, 40, 48, 56, 64, 72] and list(frames) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_segment_is_smoother_than_noise_and_common_to_all_examples():
  noise, segment = moving(20, None), np.zeros((20, 2, 12, 6, 1), np.float32)
  segment[:, :, 3:6] = 1
  assert abs(cycles.neighbours_alike(noise)) < 0.1 < 0.5 < cycles.neighbours_alike(segment)
  assert cycles.common(noise) == pytest.approx(1 / 2, abs=0.05) and cycles.common(segment) == pytest.approx(1)


@pytest.mark.parametrize(("apart", "halfway"), [(60, True), (20, False), (90, False)])
def test_a_long_run_that_catches_up_halfway_is_seen(apart, halfway):
  claims = cycles.findings(cycle_data(apart), LONG).claims
  assert [claim.seen for claim in claims[:3]] == [True, None, halfway]
  assert f"after {apart - 10}% of training" in claims[2].evidence


def test_accuracies_that_fall_together_have_not_caught_up():
  data = cycle_data()
  data["long"]["curve"] = curve(lambda step: 0.0, lambda step: 0.66 if step < 300 else 0.03, steps=500)
  claims = cycles.findings(data, LONG).claims
  assert claims[2].seen is False and "did not come together" in claims[2].evidence


@pytest.mark.parametrize(("short", "long", "time"), [
    (None, 300, True), (None, 50, None),  # the short run never did: it had fewer steps than the long one took, or more
    (60, 300, False),  # at the same share of the schedule
    (60, 60, True)])  # after the same steps
def test_time_and_a_falling_rate_are_told_apart(short, long, time):
  data = cycle_data()
  data["short"]["curve"] = curve(lambda step: 0.85 if short and step >= short else 0.1)
  data["long"]["curve"] = [  # in lines of 10 steps
    {"step": step, "fresh_accuracy": 0.85 if step >= long else 0.1, "stale_accuracy": 0.9, "learning_rate": 1e-3}
    for step in range(10, 501, 10)]
  assert cycles.findings(data, LONG).claims[3].seen is time


def test_too_few_steps_for_cycles_are_refused_before_training(tmp_path, monkeypatch):
  def forbidden(*_, **__):
    raise AssertionError("it trains")

  monkeypatch.setattr(loop, "train", forbidden)
  with pytest.raises(UserError, match=f"scale is {TINY['scale']}, accepted: more: there are 2 frames"):
    cycles.collect(tiny(tmp_path))
