"""The leaderboard: what its rows hold, and how it is written."""

import functools
import json

import numpy as np
import pytest

from tests.helpers.evaluating import eval_script, toy, train
from tf_madry.evaluation import leaderboard
from tf_madry.evaluation.record import Record


@pytest.fixture(scope="module")
def table(tmp_path_factory):
  loaded, split = toy()
  folder, said = str(tmp_path_factory.mktemp("table")), []
  quick = {"k": 5, "restarts": 3, "queries": 20}
  sources = [toy(seed=2)[0], toy(seed=3)[0]]
  result = leaderboard.run(loaded, split, 0.02, sources=sources, batch_size=60, folder=folder,
                           say=said.append, **quick)
  plan, _ = leaderboard.plan(0.02, sources, **quick)
  known = Record(loaded.model, split, plan.trials, epsilon=0.02, batch_size=60, folder=folder)
  assert known.resumed
  return result, {row.name: known.standing(*row.trials) for row in plan.rows}, said


def test_rows_of_the_leaderboard_hold_what_they_contain(table):
  result, standing, said = table
  assert [row["name"] for row in result.rows] == list(standing)
  assert [row["accuracy"] for row in result.rows] == [stands.mean() for stands in standing.values()]
  for loss in ("cross-entropy", "CW loss"):
    assert not (standing[f"PGD-5, {loss}, 3 restarts"] & ~standing[f"PGD-5, {loss}"]).any()
  for part in ("multi-targeted", "Square"):
    assert not (standing["suite"] & ~standing[part]).any()
  for part in ("black-box PGD-40, source 1", "black-box PGD-40, source 2"):
    assert not (standing["black-box PGD-40, all 2 sources"] & ~standing[part]).any()
  everything = np.logical_and.reduce([standing[name] for name in standing])
  np.testing.assert_array_equal(standing["all of the above"], everything)
  assert 0 < everything.mean() < standing["FGSM, cross-entropy"].mean()
  assert said[0].startswith("about ") and len(said) == 2 + len(result.rows)


def test_restarts_are_other_runs_of_the_same_attack_where_it_comes_near():
  trials = leaderboard.plan(0.02, k=5, restarts=3)[0].trials
  for loss in leaderboard.LOSSES:
    first, others = trials[f"PGD, {loss}"], trials[f"PGD, {loss}, restarts"]
    (repeated,) = others.attack.attacks
    assert (repeated.attack, repeated.restarts + 1) == (first.attack, 3)
    assert (first.restart, others.restart) == (0, 1)  # so with other random starts


def test_the_leaderboard_names_the_secret_models_accuracies(table, tmp_path):
  result, _, _ = table
  leaderboard.write_markdown(str(tmp_path / "table.md"), result, "a model")
  lines = (tmp_path / "table.md").read_text().splitlines()
  assert lines[0] == "a model" and lines[-1].startswith("natural accuracy 90.00%")
  published = [line.split(" | ")[3] for line in lines[4:-2]]
  assert published == [
      "96.36%", "96.40%", "92.52%", "93.04%", "89.62%", "89.71%", "88.36%", "88.25%",
      "88.50% (AutoAttack)",
      "97.79% (adversarially trained source)", "97.79% (adversarially trained source)",
      "93.54% (three copies)", "88.00% (Guided Local Attack)"]


def test_the_leaderboard_from_the_command_line(tmp_path, monkeypatch, capsys):
  train(tmp_path / "model")
  monkeypatch.chdir(tmp_path)
  quick = functools.partial(leaderboard.plan, k=2, restarts=2, queries=5)
  monkeypatch.setattr(leaderboard, "plan", quick)
  arguments = ["--model_dir=model", "--leaderboard", "--epsilon=0.05", "--num_examples=10",
               "--markdown=table.md"]
  assert eval_script(*arguments, "--source=model", "--json=table.json") == 0
  output = capsys.readouterr().out
  written = json.loads((tmp_path / "table.json").read_text())
  rows = written["rows"]
  assert (written["seed"], written["batch_size"]) == (0, 200)
  assert f"| FGSM, cross-entropy | {rows[0]['accuracy']:.2%} |" in (tmp_path / "table.md").read_text()
  assert "10 test examples, spread over the split; source 1: model/checkpoints/step-00000012.npz" in output
  assert rows[-1]["name"] == "all of the above" and rows[-1]["accuracy"] == min(row["accuracy"] for row in rows)


@pytest.mark.parametrize("classes", [2, 3])
def test_a_model_of_few_classes_goes_without_apgd_t(tmp_path, classes):
  (loaded, split), said = toy(n=20, classes=classes), []
  table = leaderboard.run(loaded, split, 0.02, folder=str(tmp_path), say=said.append, k=2,
                          restarts=2, queries=10)
  assert table.rows[-1]["accuracy"] < table.natural_accuracy
  assert said[0].startswith(f"left out: APGD-T, whose loss takes more classes than the model's {classes}; ")
