"""The suite and the leaderboard: what they leave standing, what they say, and that a stop changes neither."""

import functools
import json
import shutil
import signal

import numpy as np
import pytest
import tensorflow as tf

from tests.evaluation.test_trials import Breaks, record
from tests.helpers.evaluating import eval_script, toy, train
from tests.helpers.processes import start, until
from tf_madry import checkpoints, datasets
from tf_madry.attacks.apgd import APGD
from tf_madry.attacks.suite import Suite
from tf_madry.errors import UserError
from tf_madry.evaluation import leaderboard, masking, suite, trials

QUICK = Suite(epsilon=0.02, k=20, queries=100)


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
  """(`LoadedModel`, `Split`, `Result` of the suite, adversarial images, folder) of a toy network."""
  loaded, split = toy()
  folder = str(tmp_path_factory.mktemp("suite"))
  said = []
  result, adversarial = suite.run(loaded, QUICK, split, batch_size=16, folder=folder, say=said.append)
  return loaded, split, result, adversarial, said


def test_the_suite_leaves_no_more_than_any_member(honest):
  loaded, split, result, adversarial, said = honest
  stands = loaded.model(adversarial).numpy().argmax(-1) == split.labels
  assert stands.mean() == pytest.approx(result.adversarial_accuracy)
  assert 0 < result.adversarial_accuracy < result.natural_accuracy == 0.9
  natural = datasets.as_float(split.images)
  assert np.abs(adversarial - natural).max() <= QUICK.epsilon + 1e-6
  assert [member["name"] for member in result.members] == ["APGD-CE", "APGD-T", "multi-targeted", "Square"]
  for name, attack in QUICK.members().items():
    alone = trials.Trials(loaded.model, split, {name: trials.Trial(attack)}, epsilon=QUICK.epsilon, batch_size=16)
    alone.run(name)
    assert not (stands & ~alone.standing(name)).any(), name
  together = QUICK(loaded.model, tf.constant(natural), tf.constant(split.labels)).numpy()
  assert (loaded.model(together).numpy().argmax(-1) == split.labels).mean() == pytest.approx(stands.mean())
  assert "APGD-T" in said[4] and said[4].split()[1] == str(result.members[1]["tried"])


def test_an_honest_model_gets_no_warning(honest):
  assert honest[2].warnings == []


HIDING = {"rounded pixels": lambda images: tf.round(images * 64) / 64,
          "gradients of NaN": lambda images: images + tf.sqrt(0 * images)}


@pytest.mark.parametrize("hide", ["saturated logits", *HIDING])
def test_a_model_that_hides_its_gradients_is_found_out(tmp_path, hide):
  loaded, split = toy(wrap=HIDING.get(hide))
  if hide not in HIDING:
    output = loaded.model.layers[-1]
    output.set_weights([weights * 1e5 for weights in output.get_weights()])
  result, _ = suite.run(loaded, QUICK, split, batch_size=60, folder=str(tmp_path), say=lambda line: None)
  said = " ".join(result.warnings)
  assert "54 of 54 examples (100.0%) have an input gradient of exactly zero" in said
  assert "54 of 54 examples (100.0%) stand against PGD-40 at ε = 1" in said
  assert ("fell to Square" if hide in HIDING else "fell to APGD-T or multi-targeted") in said


def test_a_comparison_counts_what_withstood_the_weak_and_fell_to_the_strong():
  known = record({"weak": Breaks(0, 1), "strong": Breaks(1, *range(10, 16))})
  for name in ("weak", "strong"):
    known.run(name)
  assert masking.beyond(known, ["strong"], ["weak"], "fell").startswith("6 of 20 examples (30.0%) fell")
  assert masking.beyond(known, ["weak"], ["strong"], "fell") is None  # one of 20 may be chance


@pytest.fixture(scope="module")
def table(tmp_path_factory):
  loaded, split = toy()
  folder, said = str(tmp_path_factory.mktemp("table")), []
  quick = {"k": 5, "restarts": 3, "queries": 20}
  sources = [toy(seed=2)[0], toy(seed=3)[0]]
  result = leaderboard.run(loaded, split, 0.02, sources=sources, batch_size=60, folder=folder, say=said.append, **quick)
  attempts, rows = leaderboard.plan(0.02, sources, **quick)
  known = trials.Trials(loaded.model, split, attempts, epsilon=0.02, batch_size=60, folder=folder)
  assert known.resumed
  return result, {row.name: known.standing(*row.trials) for row in rows}, said


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


@pytest.mark.parametrize("classes", [2, 3])
def test_a_model_of_few_classes_goes_without_apgd_t(tmp_path, classes):
  (loaded, split), said, folder = toy(n=20, classes=classes), [], str(tmp_path)
  result, _ = suite.run(loaded, Suite(epsilon=0.02, k=3, queries=10), split, folder=folder, say=said.append)
  assert [member["name"] for member in result.members] == ["APGD-CE", "multi-targeted", "Square"]
  table = leaderboard.run(loaded, split, 0.02, folder=folder, say=said.append, k=2, restarts=2, queries=10)
  assert table.rows[-1]["accuracy"] <= result.adversarial_accuracy < result.natural_accuracy
  left_out = f"left out: APGD-T, whose loss takes more classes than the model's {classes}; multi-targeted PGD tries them all"
  assert said.count(left_out) == 2
  together = Suite(epsilon=0.02, k=3, queries=10)(loaded.model, datasets.as_float(split.images), split.labels)
  assert np.abs(together - datasets.as_float(split.images)).max() <= 0.02 + 1e-6


def test_the_leaderboard_names_the_secret_models_accuracies(table, tmp_path):
  result, _, _ = table
  leaderboard.write_markdown(str(tmp_path / "table.md"), result, "a model")
  lines = (tmp_path / "table.md").read_text().splitlines()
  assert lines[0] == "a model" and lines[-1].startswith("natural accuracy 90.00%")
  published = [line.split(" | ")[3] for line in lines[4:-2]]
  assert published == [
      "96.36%", "96.40%", "92.52%", "93.04%", "89.62%", "89.71%", "88.36%", "88.25%", "88.50% (AutoAttack)",
      "97.79% (adversarially trained source)", "97.79% (adversarially trained source)", "93.54% (three copies)",
      "88.00% (Guided Local Attack)"]


def test_one_run_at_a_time(tmp_path, honest):
  loaded, split = honest[:2]
  from tf_madry.runtime import files
  with files.exclusive(str(tmp_path)), pytest.raises(UserError, match="in use by another run"):
    suite.run(loaded, QUICK, split, folder=str(tmp_path))


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
  """(model directory, what to run on it, `Result`, adversarial images) of a suite that was never stopped."""
  folder = tmp_path_factory.mktemp("straight")
  model_dir = train(folder / "model")
  what = checkpoints.load_model(model_dir), Suite(epsilon=0.05, k=3, queries=100), datasets.load().test.head(40)
  return model_dir, what, *suite.run(*what, batch_size=5, folder=str(folder / "suite"))


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_suite_that_was_stopped_ends_as_one_that_was_not(tmp_path, straight, signum, code):
  model_dir, what, result, adversarial = straight
  shutil.copytree(model_dir, tmp_path / "model")
  process = start("eval.py", "--model_dir=model", "--attack=suite", "--k=3", "--queries=100", "--epsilon=0.05",
                  "--num_examples=40", "--batch_size=5", cwd=tmp_path)
  until(lambda: process.poll() is not None or list(tmp_path.glob("model/suite/*.npz")))
  process.send_signal(signum)
  output, _ = process.communicate(timeout=60)
  assert process.returncode == code, output
  assert "Traceback" not in output
  if signum == signal.SIGINT:
    assert output.splitlines()[-1] == "stopped; the same command goes on from here"
  said = []
  resumed, images = suite.run(*what, batch_size=5, folder=str(tmp_path / "model" / "suite"), say=said.append)
  assert said[0].startswith("going on from an earlier run")
  assert resumed.adversarial_accuracy == result.adversarial_accuracy < result.natural_accuracy
  np.testing.assert_array_equal(images, adversarial)


def test_the_leaderboard_from_the_command_line(tmp_path, monkeypatch, capsys, straight):
  shutil.copytree(straight[0], tmp_path / "model")
  monkeypatch.chdir(tmp_path)
  quick = functools.partial(leaderboard.plan, k=2, restarts=2, queries=5)
  monkeypatch.setattr(leaderboard, "plan", quick)
  arguments = ["--model_dir=model", "--leaderboard", "--epsilon=0.05", "--num_examples=10", "--markdown=table.md"]
  assert eval_script(*arguments, "--source=model", "--json=table.json") == 0
  output = capsys.readouterr().out
  written = json.loads((tmp_path / "table.json").read_text())
  rows = written["rows"]
  assert (written["seed"], written["batch_size"]) == (0, 200)
  assert f"| FGSM, cross-entropy | {rows[0]['accuracy']:.2%} |" in (tmp_path / "table.md").read_text()
  assert "10 test examples; source 1: model/checkpoints/step-00000012.npz" in output
  assert rows[-1]["name"] == "all of the above" and rows[-1]["accuracy"] == min(row["accuracy"] for row in rows)


def test_the_suite_is_an_attack_like_any_other():
  assert isinstance(QUICK.members()["APGD-CE"], APGD)
  assert eval(repr(QUICK)) == QUICK
  with pytest.raises(UserError, match="queries is 0"):
    Suite(queries=0)
