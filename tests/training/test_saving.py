"""What a run that goes on takes from its checkpoint."""

import json

from tf_madry import config as configs
from tf_madry.runtime import devices
from tf_madry.training import loop

SMALL = {"k": 3, "batch_size": 8, "candidates": 1, "initialization": "he", "eval_every": 0,
         "log_every": 2}


def config(model_dir, **settings):
  return configs.resolve({**SMALL, "model_dir": str(model_dir), **settings}, "fast")[0]


def test_a_resumed_run_keeps_its_precision(tmp_path, monkeypatch):
  monkeypatch.setattr(devices, "fast_precision", lambda: "float32")
  loop.train(config(tmp_path, steps=1))
  monkeypatch.setattr(devices, "fast_precision", lambda: "bfloat16")
  loop.train(config(tmp_path, steps=1))
  assert json.loads((tmp_path / "config.json").read_text())["precision"] == "float32"
