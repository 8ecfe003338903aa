"""Certified accuracy."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.evaluating import eval_script, train
from tf_madry import datasets
from tf_madry.attacks.pgd import PGD
from tf_madry.errors import UserError
from tf_madry.evaluation import accuracy, bounds


def test_no_attack_takes_what_is_certified():
  layers = keras.layers
  keras.utils.set_random_seed(1)
  model = keras.Sequential([keras.Input((6, 6, 1)), layers.Flatten(),
                            layers.Dense(32, activation="relu"), layers.Dense(3)])
  random = np.random.default_rng(0)
  pixels = random.integers(0, 256, (60, 6, 6, 1), np.uint8)
  labels = tf.argmax(model(datasets.as_float(pixels)), -1).numpy().astype(np.int32)
  labels[::10] = (labels[::10] + 1) % 3
  split = datasets.Split(pixels, labels)
  certified, stands = np.empty(60, bool), np.empty(60, bool)
  result = bounds.certify(model, split, 0.02, batch_size=25, certified=certified)
  attacked = accuracy.evaluate(model, PGD(k=20, epsilon=0.02), split, right=stands)
  assert 0.1 < result.certified_accuracy < result.natural_accuracy == 0.9
  assert result.certified_accuracy == certified.mean() <= attacked.adversarial_accuracy
  assert (stands | ~certified).all()
  assert result.certified_interval[0] < result.certified_accuracy < result.certified_interval[1]
  assert bounds.certify(model, split, 1.0).certified_accuracy == 0


def test_the_command_says_and_writes_what_is_proven(tmp_path, capsys):
  model_dir = train(tmp_path / "model")
  arguments = (f"--model_dir={model_dir}", "--certify", "--epsilon=0", "--num_examples=30")
  assert eval_script(*arguments, f"--json={tmp_path / 'proof.json'}") == 0
  found = json.loads((tmp_path / "proof.json").read_text())
  assert (found["n"], found["epsilon"]) == (30, 0.0)
  assert 0 <= found["certified_accuracy"] <= found["natural_accuracy"] > 0
  said = capsys.readouterr().out
  assert f"certified:  {found['certified_accuracy']:7.2%}  (95 % interval" in said
  with pytest.raises(UserError, match="--k goes with --attack and --watch, not with --certify"):
    eval_script(*arguments, "--k=3")
