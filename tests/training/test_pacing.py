"""How many steps fit into a number of minutes."""

import functools
import json
import types

import pytest

from tests.helpers.processes import run
from tests.helpers.training import arrays, same
from tf_madry import config as configs
from tf_madry import recipes
from tf_madry.training import loop, pacing, validation

SMALL = {"k": 2, "batch_size": 8, "candidates": 1, "eval_every": 0, "log_every": 2}


def config(model_dir, **settings):
  return configs.resolve({**SMALL, "model_dir": str(model_dir), **settings}, "fast")[0]


def within(minutes):
  """`pacing.steps_within` on a machine where nothing takes any time but to look at the clock, a second."""
  now = 0.0

  def clock():
    nonlocal now
    now += 1.0
    return now
  return functools.partial(pacing.steps_within, minutes=minutes, began=0.0, clock=clock)


def test_minutes_decide_the_steps_and_leave_no_other_trace(tmp_path):
  # A step takes a second, and each that is timed two looks; a little less than 4 s are left to the loop in the end.
  minutes = (2 * pacing.STEPS + 1 + pacing.ENDING + 4) / 60
  loop.train(config(tmp_path / "timed"), choose_steps=within(minutes))
  assert json.loads((tmp_path / "timed" / "config.json").read_text())["steps"] == 3
  loop.train(config(tmp_path / "told", steps=3))
  assert same(arrays(tmp_path / "timed"), arrays(tmp_path / "told"))
  # The same command goes on with the steps that it once decided on.
  loop.train(config(tmp_path / "timed"), choose_steps=within(minutes))
  assert arrays(tmp_path / "timed")["step"] == 3


def test_minutes_leave_time_for_validations(tmp_path, monkeypatch):
  monkeypatch.setattr(validation, "EXAMPLES", 40)
  monkeypatch.setattr(validation, "BATCH", 20)
  # A batch takes a second, a validation two. Of 14 s two go to that of the end, and each step takes one more for its own.
  minutes = (2 * pacing.STEPS + 2 + 1 + pacing.ENDING + 14) / 60
  loop.train(config(tmp_path, eval_every=2), choose_steps=within(minutes))
  assert json.loads((tmp_path / "config.json").read_text())["steps"] == int(12 / (1 / pacing.LOOP_SHARE + 1))


def test_the_pace_is_that_of_all_phases_of_a_run_without_what_is_done_once():
  now, seen = [0.0], set()

  class TwoPhases:
    def __call__(self, step):
      late = step >= 400
      now[0] += 0.5 if late else 0.8
      now[0] += 0.0 if late in seen else 10.0  # to compile
      seen.add(late)
      return types.SimpleNamespace(loss=0.0)

    def arrays(self):
      return {}

    def restore(self, checkpoint):
      pass

  learner = types.SimpleNamespace(config=config("", steps=1_000), variables=dict)
  steps = pacing.steps_within(learner, TwoPhases(), None, minutes=10, began=0.0,
                              clock=lambda: now[0])
  mean = 0.4 * 0.8 + 0.6 * 0.5
  left = 600 - now[0] - pacing.ENDING
  assert steps == pytest.approx(left / (mean / pacing.LOOP_SHARE), rel=0.05)


@pytest.mark.parametrize(("given", "recipe"), [
    (["--minutes=0.02"], "fast"), (["--minutes=0.02", "--k=4"], "quick")])
def test_minutes_choose_the_recipe_where_nothing_else_does(tmp_path, given, recipe):
  code, output = run("train.py", *given, cwd=tmp_path)
  assert (code, output.splitlines()) == (2, [
    f"note: recipe {recipe}, for 0.02 minutes; --recipe names another",
    "error: minutes is 0.02, accepted: enough for a step after the start"])


def test_more_minutes_are_for_the_recipe_whose_steps_cost_more():
  assert [recipes.within(minutes) for minutes in (4, 8, 60)] == ["fast", "long", "long"]
  assert recipes.within(60, paper=True) == "quick"
