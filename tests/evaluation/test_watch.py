"""Watching a run."""

import os
import shutil
import signal

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.evaluating import train
from tests.helpers.processes import start, until
from tf_madry import checkpoints
from tf_madry.models import loading


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
  return train(tmp_path_factory.mktemp("evaluation") / "model")


def tags(folder):
  found = {}
  for name in os.listdir(folder):
    for event in tf.compat.v1.train.summary_iterator(os.path.join(folder, name)):
      for value in event.summary.value:
        found.setdefault(value.tag, {})[event.step] = float(tf.make_ndarray(value.tensor))
  return found


def test_watch_measures_each_new_checkpoint_and_leaves_cleanly(tmp_path, model_dir):
  shutil.copytree(model_dir, tmp_path / "model")
  process = start("eval.py", "--watch", "--model_dir=model", "--k=1", "--num_examples=50",
                  cwd=tmp_path)

  def line(start):
    return until(lambda: next((line for line in iter(process.stdout.readline, "")
                               if line.startswith(start)), "ended"))

  assert "step 12: 50 test examples, spread over the split" in line("model")
  assert line("waiting") == "waiting for the next checkpoint\n"
  checkpoint = checkpoints.read_newest(str(tmp_path / "model"))
  zeroed = {name: np.zeros_like(array) if name.startswith("model/") else array
            for name, array in checkpoint.arrays.items()} | {"step": np.int64(13)}
  config = loading.load_model(model_dir).config
  checkpoints.save(str(tmp_path / "model"), 13, config, zeroed, keep=3)
  assert "step 13: 50 test examples, spread over the split" in line("model")
  assert line("waiting") == "waiting for the next checkpoint\n"
  process.send_signal(signal.SIGINT)
  output, _ = process.communicate(timeout=60)
  assert process.returncode == 0 and output == "stopped\n"
  found = tags(tmp_path / "model" / "eval")
  assert set(found) == {"xent adv eval", "xent adv", "xent nat", "accuracy adv eval",
                        "accuracy adv", "accuracy nat"}
  assert set(found["accuracy nat"]) == {12, 13}
  # A model that says the same of everything has a known loss: of the new weights, not those before
  # them.
  assert found["xent nat"][13] == pytest.approx(np.log(10), rel=1e-5)
  assert found["xent nat"][12] != found["xent nat"][13]
