"""The copies of a network in training: what is averaged, and what form the result has."""


import numpy as np
import pytest
import tensorflow as tf

from tf_madry import config as configs
from tf_madry import datasets
from tf_madry.models import network
from tf_madry.training.learner import Learner
from tf_madry.training.replay import ReplayStep
from tf_madry.training.synchronous import step_of

SMALL = {"k": 3, "batch_size": 8, "candidates": 1, "initialization": "he", "eval_every": 0,
         "log_every": 2}


def config(model_dir, **settings):
  return configs.resolve({**SMALL, "model_dir": str(model_dir), **settings}, "fast")[0]


def test_the_result_is_the_average_of_the_weights_and_float32(tmp_path):
  learner = Learner(config(tmp_path, steps=10, precision="bfloat16"), datasets.load())
  step = ReplayStep(learner)
  average = [weight.numpy() for weight in learner.model.weights]
  for number in range(9):
    step.run(tf.range(8), tf.constant(number))
    if number in (3, 7):  # every fourth step
      decay = (1 + number) / (40 + number)
      average = [decay * old + (1 - decay) * weight.numpy()
                 for old, weight in zip(average, learner.trained.weights, strict=True)]
  for weight, expected in zip(learner.model.weights, average, strict=True):
    np.testing.assert_allclose(weight, expected, atol=1e-6)
    assert weight.dtype == "float32"
  assert {variable.dtype.name if hasattr(variable.dtype, "name") else variable.dtype
          for name, variable in learner.variables().items() if name.startswith(("model", "trained"))} == {"float32"}


@pytest.mark.parametrize("recipe", ["fast", "certified"])
def test_the_last_step_is_in_the_result_of_a_run_of_any_length(tmp_path, recipe):
  values = {"batch_size": 8, "steps": 3, "precision": "float32", "model_dir": str(tmp_path)}
  learner = Learner(configs.resolve(values, recipe)[0], datasets.load())
  before, step = learner.model.get_weights(), step_of(learner)
  for number in range(3):
    step.run(tf.range(8 * learner.config.training.candidates), tf.constant(number))
    changed = any((old != new).any() for old, new in zip(before, learner.model.get_weights(), strict=True))
    assert changed == (number == 2)


@pytest.mark.parametrize(("precision", "averaging"), [("float32", 0.9), ("bfloat16", 0.0)])
def test_the_result_of_thresholds_is_the_papers_network(tmp_path, precision, averaging):
  dataset = datasets.load()
  learner = Learner(config(tmp_path, initialization="threshold", precision=precision, averaging=averaging, steps=5), dataset)
  step = ReplayStep(learner)
  images = datasets.as_float(dataset.validation.images[:20])
  np.testing.assert_allclose(learner.model(images), learner.trained(images), atol=1e-4)
  for number in range(4):
    step.run(tf.range(8), tf.constant(number))
  assert [weight.shape for weight in learner.model.weights] == [weight.shape for weight in network.build().weights]
  assert learner.trained.count_params() < learner.model.count_params()
  assert np.allclose(learner.model(images), learner.trained(images), atol=1e-4) == (averaging == 0)
