"""Accuracy against ε."""

import json

from tests.helpers.evaluating import eval_script, toy, train
from tf_madry.attacks import PGD, Quick
from tf_madry.evaluation import curve


def test_accuracy_falls_with_epsilon():
  loaded, split = toy()
  for make in (lambda epsilon: PGD(epsilon=epsilon), lambda epsilon: Quick(epsilon=epsilon)):
    said = []
    result = curve.run(loaded, make, [0.0, 0.02, 0.3], split, say=said.append)
    accuracies = [point["adversarial_accuracy"] for point in result.points]
    assert accuracies[0] == result.natural_accuracy == 0.9 > accuracies[1] > accuracies[2] == 0
    assert result.warnings == [] and len(said) == 4
    assert said[2].split()[:2] == ["0.02", f"{accuracies[1]:.2%}"]


def test_accuracy_that_rises_with_epsilon_is_a_sign():
  loaded, split = toy()
  weak = {0.05: 0.05, 0.1: 0.0}  # at the larger ε the attack does nothing
  result = curve.run(loaded, lambda epsilon: PGD(epsilon=weak[epsilon]), [0.05, 0.1], split,
                     say=str)
  assert result.warnings[0].startswith("accuracy rises from ")


def test_eval_draws_the_curve(tmp_path, monkeypatch, capsys):
  train(tmp_path / "model")
  monkeypatch.chdir(tmp_path)
  assert eval_script("--model_dir=model", "--epsilons=0.1,0,0.05", "--k=2", "--num_examples=50",
                     "--json=a.json", "--plot=a.png") == 0
  written = json.loads((tmp_path / "a.json").read_text())
  assert [point["epsilon"] for point in written["points"]] == [0.0, 0.05, 0.1]
  assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
  assert "saved a.png" in capsys.readouterr().out
