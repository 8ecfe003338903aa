"""What `headline` runs to the end, extrapolates and concludes."""

import os
import types

import pytest

from tests.helpers.errors import error_of
from tests.helpers.evaluating import train
from tests.helpers.studies import SETTINGS, tiny
from tf_madry import config, recipes
from tf_madry.studies import headline
from tf_madry.studies.output import report
from tf_madry.training import validation


def test_some_are_run_to_the_end_and_others_extrapolated(tmp_path, monkeypatch):
  small = {"steps": 6, "batch_size": 4, "k": 2}
  for name, values in recipes.RECIPES.items():
    # What is validated under another attack than the curves' has none.
    k = {"k": headline.CURVE_STEPS} if name == "certified" else {}
    monkeypatch.setitem(recipes.RECIPES, name, values | small | k)
  monkeypatch.setattr(validation, "EXAMPLES", 8)
  attacked = []

  def attack(lab, network):
    attacked.append(network.name)
    return {"n": 8, "natural": 0.98, "pgd": 0.9, "suite": 0.88, "suite_seconds": 1000.0,
            "warnings": []} | ({"certified": 0.5} if network.config.training.bounds else {})

  monkeypatch.setattr(headline, "_attacked", attack)
  lab = tiny(tmp_path, slice=3, headline_n=8)
  done = lab.network(k=1)
  data = headline.collect(tiny(tmp_path, slice=3, headline_n=8, runs=(done.folder,)))
  rows = {row["name"]: row for row in data["recipes"]}
  assert {name: (row["steps"], row["full_steps"]) for name, row in rows.items()} == {
    headline.METHOD: (3, 3), "challenge": (3, 6), "paper": (3, 6), "fast": (6, 6),
    "certified": (6, 6), done.name: (3, 3)}
  assert attacked == [lab.network(k=8).name, *attacked[1:]] and len(attacked) == 4
  assert rows["fast"]["full_seconds"] == rows["fast"]["seconds"]
  points = {name: len(row["curve"]) for name, row in rows.items()}
  assert points == {"fast": 6, "certified": 6, headline.METHOD: 1, done.name: 0, "challenge": 0,
                    "paper": 0}
  assert {name for name, row in rows.items()
          if any("certified_accuracy" in point for point in row["curve"])} == {"certified"}
  findings = headline.findings(data, SETTINGS | {"headline_n": 8})
  assert ["extrapolated from 3 steps" in line[2]
          for line in findings.tables[0].rows] == [False, True, True] + 5 * [False]
  assert [line[-1][:5] for line in findings.tables[0].rows] == 4 * ["–"] + ["50.0%"] + 3 * ["–"]
  assert findings.claims[0].seen is None  # there are no eight GPUs
  report.draw(str(tmp_path), findings, SETTINGS)
  assert {"headline.png", "headline.svg", "headline.csv",
          "headline_curve.csv"} <= set(os.listdir(tmp_path))


@pytest.mark.parametrize(("accuracy", "n", "natural", "seen"), [
    (0.884, 1_000, 0.98, None), (0.87, 10_000, 0.98, False), (0.9, 10_000, 0.98, True),
    (0.9, 10_000, 0.96, False)])
def test_an_interval_that_holds_the_aim_decides_nothing(accuracy, n, natural, seen):
  assert headline.reaches(accuracy, n, 0.885, natural) is seen


def test_a_run_that_is_given_is_called_what_it_is():
  bounded = config.resolve({}, "certified")[0]
  assert headline._label("mine", bounded) == "mine: recipe certified, on interval bounds"
  crew = config.resolve({"workers": 7}, "quick")[0]
  assert headline._label("mine", crew, 7) == "mine: κ = 8, 7 workers"
  # train.py, which has no workers, keeps the setting as well: the log tells.
  assert headline._label("mine", crew) == "mine: κ = 8, synchronous"
  rows = [{"split": "train", "queue_depth": 1.5}]
  assert headline._workers(types.SimpleNamespace(config=crew, rows=rows)) == 7
  assert headline._workers(types.SimpleNamespace(config=crew, rows=[{"split": "train"}])) == 0


def test_runs_that_cannot_be_taken_are_refused_before_anything_is_trained(tmp_path):
  done = train(tmp_path / "mine", steps=2)
  assert list(headline._given((done,))) == ["mine"]
  assert "accepted: folders of names" in error_of(headline._given, (done, done))
  assert "accepted: folders of names" in error_of(headline._given, (str(tmp_path / "paper"),))
  lab = types.SimpleNamespace(options=types.SimpleNamespace(runs=(str(tmp_path / "none"),)))
  assert "none" in error_of(headline.collect, lab)
  os.remove(os.path.join(done, "metrics.jsonl"))
  assert "metrics.jsonl" in error_of(headline._given, (done,))
