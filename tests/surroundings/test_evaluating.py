"""Evaluating where things are not as they were at home: models of others, terminals that go, odd data sets."""

import errno
import json
import os

import numpy as np
import pytest

from tests.helpers import evaluating, file_systems
from tf_madry import config as configs
from tf_madry import datasets
from tf_madry.datasets.examples import carve_validation
from tf_madry.errors import UserError
from tf_madry.evaluation import load, suite, watch


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
  return evaluating.train(tmp_path_factory.mktemp("models") / "natural")


def test_somebody_elses_model_is_evaluated_without_a_record(tmp_path, monkeypatch, capsys, model_dir):
  file_systems.read_only(monkeypatch, model_dir)
  before = sorted(os.listdir(model_dir))
  evaluating.eval_script(f"--model_dir={model_dir}", "--attack=suite", "--k=1", "--queries=1", "--num_examples=2",
                         f"--json={tmp_path / 'result.json'}")
  assert "no record is kept" in capsys.readouterr().err
  assert json.loads((tmp_path / "result.json").read_text())["n"] == 2
  assert sorted(os.listdir(model_dir)) == before


@pytest.mark.parametrize("mode", ["--attack=suite", "--leaderboard"])
def test_the_record_is_kept_where_the_user_says(tmp_path, monkeypatch, capsys, model_dir, mode):
  file_systems.read_only(monkeypatch, model_dir)
  folders = []

  def run(*arguments, folder, **options):
    folders.append(folder)
    raise UserError("enough")

  monkeypatch.setattr(suite, "run", run)
  monkeypatch.setattr("tf_madry.evaluation.leaderboard.run", run)
  with pytest.raises(UserError, match="enough"):
    evaluating.eval_script(f"--model_dir={model_dir}", mode, f"--record={tmp_path}")
  assert folders == [str(tmp_path)]
  assert capsys.readouterr().err == ""
  with pytest.raises(UserError, match=r"record is .*, accepted: a folder, with --attack suite or quick, and with --leaderboard"):
    evaluating.eval_script("--attack=pgd", f"--record={tmp_path}")


def test_somebody_elses_run_is_watched_without_tensorboard(monkeypatch, capsys, model_dir):
  file_systems.read_only(monkeypatch, model_dir)

  def stop(*_):
    raise KeyboardInterrupt

  monkeypatch.setattr(watch.time, "sleep", stop)
  evaluating.eval_script(f"--model_dir={model_dir}", "--watch", "--k=1", "--num_examples=4")
  captured = capsys.readouterr()
  assert "nothing is kept for TensorBoard" in captured.err
  assert "step 12: 4 test examples" in captured.out


def test_a_result_is_written_before_it_is_told(tmp_path, monkeypatch, model_dir):
  def gone(*_, **__):
    raise OSError(errno.EPIPE, "Broken pipe")

  class Terminal:
    write = flush = gone

  monkeypatch.setattr("sys.stdout", Terminal())
  with pytest.raises(OSError, match="Broken pipe"):
    evaluating.eval_script(f"--model_dir={model_dir}", "--attack=fgsm", "--num_examples=4", f"--json={tmp_path / 'a.json'}")
  assert json.loads((tmp_path / "a.json").read_text())["n"] == 4


def test_the_whole_test_split_may_be_named(tmp_path, monkeypatch, capsys, model_dir):
  split = datasets.load("mnist").test.head(6)
  whole = datasets.Dataset("mnist", 10, split, split, split)
  monkeypatch.setattr(datasets, "load", lambda name: whole)
  attack = tmp_path / "attack.npy"
  evaluating.eval_script(f"--model_dir={model_dir}", "--attack=fgsm", "--num_examples=6", f"--save_attack={attack}")
  assert np.load(attack).shape == (6, 784)
  with pytest.raises(UserError, match="only with the whole test split: without --num_examples, or with 6"):
    evaluating.eval_script(f"--model_dir={model_dir}", "--num_examples=5", f"--save_attack={attack}")


def test_a_split_without_examples_is_one_line(monkeypatch):
  full = datasets.load("mnist").test.head(5)
  empty = datasets.Split(full.images[:0], full.labels[:0])
  monkeypatch.setattr(datasets, "load", lambda name: datasets.Dataset("tiny", 10, full, empty, full))
  with pytest.raises(UserError, match="split is 'validation', accepted: one that has examples, which that of tfds:tiny"):
    load.Choice(split="validation").of("tfds:tiny")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_a_config_is_read_in_any_unicode(tmp_path, encoding):
  path = tmp_path / "config.json"
  path.write_bytes(json.dumps({"k": 5, "_comment": "κ"}, ensure_ascii=False).encode(encoding))
  assert configs.resolve({}, path=str(path))[0].attack.k == 5


def test_a_run_without_validation_examples_says_so_at_the_start(tmp_path, monkeypatch, capsys):
  train, test = datasets.load("mnist").train.head(11), datasets.load("mnist").test.head(2)
  rest, none = carve_validation(train)
  monkeypatch.setattr(datasets, "load", lambda name: datasets.Dataset("tiny", 10, rest, none, test))
  evaluating.train(tmp_path / "tiny", steps=2, batch_size=4, eval_every=1)
  lines = capsys.readouterr().out.splitlines()
  assert "no validation: of 11 training examples none is set aside for it, which takes 12" in lines[:4]
  assert lines[-1].startswith("step 2/2")
  assert json.loads((tmp_path / "tiny" / "config.json").read_text())["eval_every"] == 0
