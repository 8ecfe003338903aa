"""Small models to evaluate, and eval.py without a process of its own."""

import importlib.util

import keras
import numpy as np
import tensorflow as tf
from absl import flags
from absl.testing import flagsaver

from tests.helpers.processes import ROOT
from tf_madry import config as configs
from tf_madry import datasets
from tf_madry.attacks.base import Cost
from tf_madry.evaluation.record import Record, Trial
from tf_madry.evaluation.runner import Row, run_row
from tf_madry.models import loading
from tf_madry.training import loop


def train(model_dir, **settings):
  """A model directory of the paper's network after a few steps: right more often than not, and easy
  to fool."""
  given = {"model_dir": str(model_dir), "steps": 12, "batch_size": 64, "eval_every": 0,
           "log_every": 12}
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
  return loading.LoadedModel(model, 1, configs.Config.from_values({}),
                             "toy"), datasets.Split(pixels, labels)


class Numbered:
  """Images that carry their number, and a model that sees label 1 while the bottom right pixel is
  below 0.25."""

  images = np.zeros((20, 2, 2, 1), np.uint8)
  images[:, 0, 0, 0] = np.arange(20) * 10
  split = datasets.Split(images, np.ones(20, np.int32))
  variables = ()

  def __call__(self, images):
    fooled = tf.cast(images[:, 1, 1, 0] > 0.25, tf.float32)
    return tf.stack([fooled, 1 - fooled], -1)


class Breaks:
  """An attack that breaks the given examples of `Numbered`, and remembers which it was asked
  for."""

  epsilon, randomised, fewest_classes = 0.3, True, 2

  def __init__(self, *numbers, value=0.3, stop_at=None):
    self.numbers, self.value, self.stop_at, self.calls = numbers, value, stop_at, []

  def __repr__(self):
    return f"Breaks{self.numbers}"

  def cost(self, num_classes):
    return Cost(1, 0)

  @property
  def asked(self):
    return [number for call in self.calls for number in call]

  def __call__(self, model, images, labels, *, seed):
    found = images.numpy()
    asked = [round(float(pixel) * 25.5) for pixel in found[:, 0, 0, 0]]
    if self.stop_at in asked:
      raise KeyboardInterrupt
    self.calls.append(asked)
    for row, number in enumerate(asked):
      if number in self.numbers:
        found[row, 1, 1, 0] = self.value
    return tf.constant(found)


def record(attacks, folder=None, **settings):
  """A `Record` of attacks on `Numbered`, in batches of four."""
  settings = {"epsilon": 0.3, "batch_size": 4, "folder": folder and str(folder)} | settings
  return Record(Numbered(), Numbered.split,
                {name: Trial(attack) for name, attack in attacks.items()}, **settings)


def attempt(known, *names):
  """Makes the attacks of those names in turn."""
  run_row(known, Row("row", names))
