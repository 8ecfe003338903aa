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
from tf_madry.models import foreign


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
  nothing = bounds.certify(model, split, 1.0)
  assert nothing.certified_accuracy == 0
  assert ["bounds widen" in " ".join(bounds.lines(each)) for each in (result, nothing)] == [False, True]


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


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_others_models_are_bounded_as_they_are_called(tmp_path, ending):
  """With their own type and arrangement of images, and without their softmax."""
  keras.utils.set_random_seed(1)
  layers = keras.layers
  images = keras.Input((28, 28), dtype="uint8")
  x = layers.Rescaling(1 / 255)(layers.Reshape((28, 28, 1))(images))
  x = layers.BatchNormalization()(layers.Conv2D(4, 5, strides=3, activation="relu")(x))
  model = keras.Model(images, layers.Dense(3, activation="softmax")(layers.Flatten()(x)))
  model.save(path := str(tmp_path / f"model{ending}"))
  loaded = foreign.load(path, (28, 28, 1))
  pixels = np.random.default_rng(2).integers(0, 256, (40, 28, 28, 1), np.uint8)
  labels = tf.argmax(loaded(datasets.as_float(pixels)), -1).numpy().astype(np.int32)
  split = datasets.Split(pixels, labels)
  near, far = (bounds.certify(loaded, split, epsilon) for epsilon in (0.0, 0.3))
  assert near.certified_accuracy > 0.9 and far.certified_accuracy < near.natural_accuracy == 1
  # A pixel that moves by less than half a step of its bytes is the same byte.
  assert bounds.certify(loaded, split, 0.4 / 255).certified_accuracy == near.certified_accuracy


def test_a_saved_model_has_no_layers_to_bound(tmp_path):
  model = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Dense(10)])
  model.export(str(tmp_path / "saved"), verbose=False)
  with pytest.raises(UserError, match="accepted: one whose layers Keras knows, for --certify"):
    eval_script(f"--checkpoint={tmp_path / 'saved'}", "--certify", "--num_examples=5")
  with pytest.raises(UserError, match="for --export: what others wrote loads without this package"):
    eval_script(f"--checkpoint={tmp_path / 'saved'}", f"--export={tmp_path / 'plain.keras'}")
