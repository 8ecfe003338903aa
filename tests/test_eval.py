"""eval.py: what it prints and writes, and what it refuses."""

import json
import os

import numpy as np
import pytest

from tests.helpers.evaluating import eval_script, train
from tests.helpers.processes import run
from tf_madry import checkpoints, datasets
from tf_madry import config as configs
from tf_madry.errors import UserError
from tf_madry.models import loading, network


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
  return train(tmp_path_factory.mktemp("evaluation") / "model")


def test_what_is_printed_and_written(tmp_path, model_dir):
  (tmp_path / "pred.npy").mkdir()  # where nothing is to be written
  (tmp_path / "result.json").symlink_to("elsewhere.json")
  code, output = run("eval.py", f"--model_dir={model_dir}", "--k=2", "--epsilon=0.05",
                     "--num_examples=150", "--restarts=2", "--json=result.json", cwd=tmp_path)
  assert code == 0, output
  result = json.loads((tmp_path / "result.json").read_text())
  assert (tmp_path / "result.json").is_symlink() and (tmp_path / "elsewhere.json").exists()
  low, high = result["adversarial_interval"]
  assert f"adversarial:  {result['adversarial_accuracy']:7.2%}  (95 % interval {low:.2%} to {high:.2%})" in output
  assert "150 test examples, spread over the split; seed 0; " in output
  assert "k=2" in output and "restarts=2" in output
  assert low < result["adversarial_accuracy"] < high and result["n"] == 150
  assert (result["model"], result["step"],
          result["split"]) == (checkpoints.list_paths(model_dir)[0], 12, "test")
  assert (result["seed"], result["batch_size"]) == (0, 200)
  assert (result["n"], result["examples"]) == (150, "spread")
  seen = datasets.load().test.spread(150)
  logits = loading.load_model(model_dir).model(datasets.as_float(seen.images))
  right = logits.numpy().argmax(-1) == seen.labels
  assert result["natural_accuracy"] == pytest.approx(right.mean())
  assert result["adversarial_accuracy"] < result["natural_accuracy"]


def test_settings_come_from_the_model_directory(tmp_path, monkeypatch, capsys, model_dir):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "config.json").write_text('{"k": 77}')
  assert eval_script(f"--model_dir={model_dir}", "--num_examples=20") == 0
  assert "PGD(k=8, epsilon=0.3, alpha=None, random_start=True, loss='xent')" in capsys.readouterr().out
  assert eval_script(f"--checkpoint={checkpoints.list_paths(model_dir)[0]}", "--num_examples=20",
                     "--loss=cw") == 0
  assert "loss='cw'" in capsys.readouterr().out


def test_a_model_whose_training_is_no_attack_is_judged_by_the_papers(tmp_path, monkeypatch, capsys, model_dir):
  monkeypatch.chdir(tmp_path)
  arrays = checkpoints.read_newest(model_dir).arrays
  arrays["model/logits/bias"] = np.full(10, np.nan, np.float32)
  checkpoints.save("fast", 1, configs.resolve({"epsilon": 0.2}, "fast")[0], arrays, keep=1)
  assert eval_script("--model_dir=fast", "--num_examples=20", "--restarts=2", "--json=a.json") == 0
  assert "PGD(k=8, epsilon=0.2, alpha=None, random_start=True, loss='xent')" in capsys.readouterr().out
  written = json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail)
  assert written["natural_loss"] is None


def other_shape(folder):
  config = loading.load_model(folder / "model").config
  arrays = checkpoints.read_newest(str(folder / "model")).arrays
  arrays["model/logits/bias"] = np.zeros(7, np.float32)
  return checkpoints.save(str(folder / "other"), 1, config, arrays, keep=3)


def seven_classes(folder):
  config = loading.load_model(folder / "model").config
  arrays = {"step": np.int64(1), "image_shape": np.int32([28, 28, 1]), "num_classes": np.int32(7)}
  weights = checkpoints.variables_of(network.build(num_classes=7), "model")
  arrays |= {name: variable.numpy() for name, variable in weights.items()}
  return checkpoints.save(str(folder / "seven"), 1, config, arrays, keep=3)


@pytest.mark.parametrize(("arguments", "said"), [
    (["--source=seven"],
     r"output shape of source 'seven' is \(7,\), accepted: \(10,\), as of 'model/"),
    (["--model_dir=empty"],
     "model directory is 'empty', accepted: a directory with a checkpoint in it"),
    (["--model_dir=none"], "model is 'none', accepted: a model directory"),
    (["--model_dir=other"],
     r"model/logits/bias of '.*' is \(7,\), accepted: an array of shape \(10,\)"),
    (["--checkpoint=text.npz"], "checkpoint 'text.npz' is damaged"),
    (["--attack=deepfool"], "attack is 'deepfool', accepted: fgsm, pgd, .*suite"),
    (["--loss=hinge"], "loss is 'hinge', accepted: xent, cw, dlr"), (["--k=0"], "k is 0"),
    (["--epsilon=1.5"], "epsilon is 1.5"), (["--alpha=0"], "alpha is 0"),
    (["--attack=fgsm", "--k=3"], "fgsm is 'k'"),
    (["--num_examples=10001"], "number of examples is 10001, accepted: 1 to 10000"),
    (["--num_examples=0"], "is 0"),
    (["--split=testing"], "split is 'testing', accepted: test, validation, train"),
    (["--epsilons=0,x"], "epsilons is '0,x', accepted: numbers from 0 to 1 with commas"),
    (["--epsilons=0,2"], "epsilons is '0,2', accepted: numbers"),
    (["--plot=a.jpg"], "plot is 'a.jpg'"),
    (["--examples=last"], "examples is 'last', accepted: spread, first"),
    (["--batch_size=0"], "batch_size is 0"), (["--restarts=0"], "restarts is 0"),
    (["--seed=-1"], "seed is -1"),
    (["--json=none/a.json"], "json is 'none/a.json'"), (["--source=none"], "model is 'none'"),
    (["--watch", "--checkpoint=a"], "--checkpoint goes with .*, not with --watch"),
    (["--watch", "--model_dir=none"], "model_dir is 'none'"),
    (["--watch", "--model_dir=empty", "--split=testing"], "split is 'testing'"),
    (["--watch", "--model_dir=empty", "--num_examples=10001"], "number of examples is 10001"),
    (["--watch", "--model_dir=empty", "--attack=deepfool"], "attack is 'deepfool'"),
    (["--watch", "--model_dir=taken"], "'taken/eval' cannot be made or written"),
    (["--attack=fgsm", "--restarts=2"],
     r"restarts is 2, accepted: 1 for FGSM\(epsilon=0.3, loss='xent'\), which does"),
])
def test_bad_input_is_refused(tmp_path, monkeypatch, model_dir, arguments, said):
  monkeypatch.chdir(tmp_path)
  os.symlink(model_dir, "model")
  os.mkdir("empty")
  os.mkdir("taken")
  (tmp_path / "taken" / "eval").write_text("no directory")
  (tmp_path / "text.npz").write_text("no archive")
  if "--model_dir=other" in arguments:
    other_shape(tmp_path)
  if "--source=seven" in arguments:
    seven_classes(tmp_path)
  before = sorted(os.listdir(tmp_path))
  with pytest.raises(UserError, match=said) as refusal:
    eval_script("--model_dir=model", *arguments)
  assert "\n" not in str(refusal.value)
  assert sorted(os.listdir(tmp_path)) == before


def test_bad_input_is_one_line_of_the_script(tmp_path):
  code, output = run("eval.py", "--batch_size=0", cwd=tmp_path)
  assert (code, len(output.splitlines())) == (2, 1) and output.startswith("error: batch_size is 0, accepted: ")


@pytest.mark.parametrize(("arguments", "said"), [
    (["--attack_file=a.npy", "--leaderboard"],
     "flags is '--attack_file --leaderboard', accepted: one of them"),
    (["--attack_file=a.npy", "--save_attack=b.npy"],
     "--save_attack goes with --attack, not with --attack_file"),
    (["--attack_file=a.npy", "--k=3"],
     "--k goes with --attack and --watch, not with --attack_file"),
    (["--attack_file=a.npy", "--num_examples=10"], "--num_examples goes with"),
    (["--attack_file=pred.npy"], "predictions is 'pred.npy', accepted: another file"),
    (["--attack_file=a.npy", "--predictions=none/pred.npy"],
     "predictions is 'none/pred.npy', accepted: a file"),
    (["--predictions=p.npy"], "--predictions goes with --attack_file"),
    (["--markdown=a.md"], "--markdown goes with --leaderboard"),
    (["--leaderboard", "--k=3"], "--k goes with"),
    (["--leaderboard", "--save_attack=a.npy"], "--save_attack goes with --attack"),
    (["--save_attack=a.npy", "--num_examples=100"], "only with the whole test split"),
    (["--save_attack=a.npy", "--split=train"], "only with the whole test split"),
    (["--save_attack=none/a.npy"],
     "save_attack is 'none/a.npy', accepted: a file in a directory that exists"),
    (["--json=/dev/null"], "json is '/dev/null', accepted: a file in"),
    (["--json="], "json is '', accepted: a file in"),
    (["--json=a.json", "--save_attack=./a.json"],
     "json is 'a.json', accepted: another file than --save_attack"),
    (["--attack_file=a.npy", "--json=a.npy"],
     "json is 'a.npy', accepted: another file than --attack_file"),
    (["--attack_file="], "attack_file is '', accepted: the path of a .npy file"),
    (["--source=a", "--source=b"], "source is 'a, b', accepted: one model"),
    (["--attack=suite", "--restarts=2"], "restarts is 2, accepted: 1 with --attack suite"),
])
def test_flags_that_do_not_go_together(tmp_path, monkeypatch, arguments, said):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(UserError, match=said):
    eval_script(*arguments)
  assert os.listdir(tmp_path) == []


def test_a_network_is_exported(tmp_path, monkeypatch, capsys, model_dir):
  monkeypatch.chdir(tmp_path)
  assert eval_script(f"--model_dir={model_dir}", "--export=network.keras") == 0
  assert capsys.readouterr().out == "saved network.keras\n"
  images = datasets.as_float(datasets.load().test.images[:5])
  exported, own = (loading.load_model(path).model for path in ("network.keras", model_dir))
  np.testing.assert_allclose(exported(images), own(images), rtol=1e-4, atol=1e-4)
  with pytest.raises(UserError, match=r"model is 'network.keras', accepted: a network of ours"):
    eval_script("--checkpoint=network.keras", "--export=again.keras")
  with pytest.raises(UserError,
                     match=r"export is 'a.h5', accepted: a file whose name ends in .keras"):
    eval_script(f"--model_dir={model_dir}", "--export=a.h5")
