"""What `cycles` concludes of the long run."""

import os

import numpy as np
import pytest

from tests.helpers.studies import SETTINGS, TINY, curve, cycle_data, tiny
from tf_madry.errors import UserError
from tf_madry.studies import cycles
from tf_madry.studies.lab import options
from tf_madry.studies.output import report
from tf_madry.training import loop

LONG = SETTINGS | {"long": 5.0}


def test_the_window_leaves_out_the_beginning_and_the_end_of_training():
  frames, steps = cycles.window(np.arange(10), 80, 8)
  assert steps == [16, 24, 32, 40, 48, 56, 64, 72] and list(frames) == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize(("apart", "halfway"), [(60, True), (20, False), (90, False)])
def test_a_long_run_that_catches_up_halfway_is_seen(apart, halfway):
  claims = cycles.findings(cycle_data(apart), LONG).claims
  assert [claim.seen for claim in claims[:3]] == [True, None, halfway]
  assert f"after {apart - 10}% of training" in claims[2].evidence


def test_accuracies_that_fall_together_have_not_caught_up():
  data = cycle_data()
  data["long"]["curve"] = curve(lambda step: 0.0, lambda step: 0.66 if step < 300 else 0.03,
                                steps=500)
  claims = cycles.findings(data, LONG).claims
  assert claims[2].seen is False and "which met as stale fell" in claims[2].evidence


@pytest.mark.parametrize(("short", "long", "time"), [
    # The short run never did: it had fewer steps than the long one took, or more.
    (None, 300, True), (None, 50, None),
    (60, 300, False),  # at the same share of the schedule
    (60, 60, True)])  # after the same steps
def test_time_and_a_falling_rate_are_told_apart(short, long, time):
  data = cycle_data()
  data["short"]["curve"] = curve(lambda step: 0.85 if short and step >= short else 0.1)
  data["long"]["curve"] = [  # in lines of 10 steps
    {"step": step, "fresh_accuracy": 0.85 if step >= long else 0.1, "stale_accuracy": 0.9,
     "learning_rate": 1e-3}
    for step in range(10, 501, 10)]
  assert cycles.findings(data, LONG).claims[3].seen is time


def test_too_few_steps_for_cycles_are_refused_before_training(tmp_path, monkeypatch):
  def forbidden(*_, **__):
    raise AssertionError("it trains")

  monkeypatch.setattr(loop, "train", forbidden)
  with pytest.raises(UserError,
                     match=f"scale is {TINY['scale']}, accepted: more: there are 2 frames"):
    cycles.collect(tiny(tmp_path))


def test_what_is_collected_can_be_drawn_and_the_control_has_the_length_of_the_long_run(tmp_path,
                                                                                       monkeypatch):
  monkeypatch.setattr(cycles, "STALE", 2)  # steps that fill the queue
  data = cycles.collect(tiny(tmp_path, scale=8 / options.STEPS, long=1.5))
  assert [row["frames"] for row in data["summary"]] == [6, 6]
  assert [data[name]["curve"][-1]["step"] for name in ("short", "long", "control")] == [8, 12, 12]
  report.draw(str(tmp_path), cycles.findings(data, LONG), LONG)
  assert {"cycles_images.png", "cycles_animated.gif", "cycles_long.png", "cycles_control.csv"} <= set(
    os.listdir(tmp_path))
