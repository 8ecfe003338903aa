"""Which weights a directory stands for: two runs, other programs' runs, other programs' settings."""

import json
import os
import re

import numpy as np
import pytest

from tests.helpers import evaluating
from tf_madry import checkpoints
from tf_madry import config as configs
from tf_madry.errors import UserError
from tf_madry.evaluation import watch
from tf_madry.models import directory, loading
from tf_madry.training import loop

LISTING = 'model_checkpoint_path: "checkpoint-24900"\n'
CHALLENGE = {"_comment": "===== MODEL CONFIGURATION =====", "model_dir": "models/secret", "random_seed": 4557077,
             "max_num_training_steps": 2, "num_output_steps": 1, "num_summary_steps": 1, "num_checkpoint_steps": 1,
             "training_batch_size": 8, "num_eval_examples": 10, "eval_batch_size": 10, "eval_on_cpu": True,
             "epsilon": 0.3, "k": 1, "a": 0.01, "random_start": True, "loss_func": "xent", "store_adv_path": "attack.npy"}


def ours(folder, step=12, **values):
  """A checkpoint of ours as far as who looks at a directory can tell; returns its path."""
  config = configs.Config.from_values({"model_dir": str(folder), **values})
  arrays = {"step": np.int64(step), "image_shape": np.int32([28, 28, 1]), "num_classes": np.int32(10)}
  return checkpoints.save(str(folder), step, config, arrays, keep=3)


def listed(folder):
  return sorted(os.path.join(where, name) for where, _, names in os.walk(folder) for name in names)


def challenges(folder):
  folder.mkdir(parents=True, exist_ok=True)
  (folder / "checkpoint").write_text(LISTING)
  (folder / "checkpoint-24900.index").write_bytes(b"")
  return folder


def test_the_challenges_own_line_leaves_the_released_model_alone(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  secret = challenges(tmp_path / "models" / "secret")
  (tmp_path / "config.json").write_text(json.dumps(CHALLENGE))
  before = listed(tmp_path)
  with pytest.raises(UserError, match=(r"model_dir is 'models/secret', accepted: a directory of its own: give another "
                                       r"--model_dir \(this one holds another program's checkpoint, checkpoint-24900.index\)")):
    loop.train(configs.resolve({}, path="config.json")[0])
  assert listed(tmp_path) == before
  assert directory.others(str(secret)) == ["checkpoint", "checkpoint-24900.index"]


@pytest.mark.parametrize("name", ["saved_model.pb", "model.pt", "epoch3.ckpt", "ckpt-1.index"])
def test_nobody_trains_into_another_programs_run(tmp_path, name):
  (tmp_path / name).write_bytes(b"weights")
  with pytest.raises(UserError, match=re.escape(f"another program's {name}")):
    loop.train(configs.Config.from_values({"model_dir": str(tmp_path)}))
  assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("content", [json.dumps(CHALLENGE), '{"lr": 0.1}', "not JSON", "[]"])
def test_another_programs_settings_are_not_replaced(tmp_path, content):
  (tmp_path / "config.json").write_text(content)
  with pytest.raises(UserError, match=r"the config\.json of this one is another program's, and would be replaced"):
    loop.train(configs.Config.from_values({"model_dir": str(tmp_path)}))
  assert (tmp_path / "config.json").read_text() == content


@pytest.mark.parametrize("name", ["model.keras", "config.json", "notes.txt", "checkpoint"])
def test_what_is_no_run_is_nobodys(tmp_path, name):
  (tmp_path / name).write_text('{"k": 8, "of_an_earlier_version": 1, "versions": {}}')
  directory.require_own(str(tmp_path))
  ours(tmp_path)
  directory.require_own(str(tmp_path))
  directory.require_one(str(tmp_path))


def test_who_reads_has_to_name_one_of_two_programs_weights(tmp_path, monkeypatch):
  path = ours(challenges(tmp_path))
  said = f"holds weights of two programs, '{path}' and 'checkpoint': give the path"
  for read in (loading.load_model, lambda folder: evaluating.eval_script(f"--model_dir={folder}"),
               lambda folder: evaluating.eval_script("--watch", f"--model_dir={folder}", "--num_examples=4")):
    with pytest.raises(UserError, match=said):
      read(str(tmp_path))


def test_who_reads_has_to_name_one_of_two_runs(tmp_path):
  paths = [ours(tmp_path / "a", 12, k=8), ours(tmp_path / "b", 24, k=40)]
  os.rename(paths[1], tmp_path / "a" / "checkpoints" / os.path.basename(paths[1]))
  for look in (directory.require_one, directory.require_own, loading.load_model):
    with pytest.raises(UserError, match=r"holds checkpoints of two runs, .*24.npz' and .*12.npz' \(k 40 and 8\)"):
      look(str(tmp_path / "a"))
  directory.require_one(paths[0])  # named, it is one


def test_a_run_that_was_made_longer_is_one(tmp_path):
  ours(tmp_path, 12, steps=12)
  ours(tmp_path, 24, steps=24, checkpoint_every=7, workers=3)
  directory.require_one(str(tmp_path))


def test_a_config_of_another_run_is_said(tmp_path, capsys):
  ours(tmp_path, k=8)
  (tmp_path / "config.json").write_text('{"k": 40}')
  directory.require_one(str(tmp_path))
  assert "is of another run than the checkpoints beside it, which count: k 8 and 40" in capsys.readouterr().err
  (tmp_path / "config.json").write_text('{"k": 8, "eval_every": 5}')
  directory.require_one(str(tmp_path))
  assert capsys.readouterr().err == ""


def test_another_run_that_comes_while_one_is_watched_ends_the_watch(tmp_path, monkeypatch):
  ours(tmp_path, 12, k=8)
  monkeypatch.setattr(watch.time, "sleep", lambda seconds: ours(tmp_path, 24, k=40))
  with pytest.raises(UserError, match="holds checkpoints of two runs"):
    evaluating.eval_script("--watch", f"--model_dir={tmp_path}", "--num_examples=4")
