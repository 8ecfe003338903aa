"""Small models to evaluate, and eval.py without a process of its own."""

import importlib.util

import keras
import numpy as np
import tensorflow as tf
from absl import flags
from absl.testing import flagsaver

from tests.helpers.processes import ROOT
from tf_madry import checkpoints, datasets
from tf_madry import config as configs
from tf_madry.training import loop


def train(model_dir, **settings):
  """A model directory of the paper's network after a few steps: right more often than not, and easy to fool."""
  given = {"model_dir": str(model_dir), "steps": 12, "batch_size": 64, "eval_every": 0, "log_every": 12}
  loop.train(configs.resolve(given | settings, "natural")[0])
  return str(model_dir)


def eval_script(*arguments):
  """Runs main() of eval.py in this process; returns its exit code, raises what it raises."""
  if not hasattr(eval_script, "module"):
    spec = importlib.util.spec_from_file_location("eval_script", ROOT / "eval.py")
    eval_script.module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(eval_script.module)
  with flagsaver.flagsaver():
    flags.FLAGS(["eval.py", *map(str, arguments)])
    return eval_script.module.main()


def toy(seed=1, n=60, wrap=None, classes=5):
  """A small network and examples of which it gets nine in ten right: (`LoadedModel`, `Split`).

  Args:
    seed: of weights and images.
    n: number of examples.
    wrap: a function of the images that the network sees in their place.
    classes: how many it tells apart.
  """
  keras.utils.set_random_seed(seed)
  images = keras.Input((6, 6, 1))
  seen = keras.layers.Lambda(wrap)(images) if wrap else images
  centred = keras.layers.Flatten()(keras.layers.Rescaling(1.0, offset=-0.5)(seen))
  hidden = keras.layers.Dense(32, activation="relu")(centred)
  model = keras.Model(images, keras.layers.Dense(classes)(hidden))
  pixels = np.random.default_rng(seed).integers(0, 256, (n, 6, 6, 1), np.uint8)
  labels = tf.argmax(model(datasets.as_float(pixels)), -1).numpy().astype(np.int32)
  labels[::10] = (labels[::10] + 1) % classes
  return checkpoints.LoadedModel(model, 1, configs.Config.from_values({}), "toy"), datasets.Split(pixels, labels)
