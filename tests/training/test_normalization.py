"""Batch normalisation that is merged into the weights."""

import numpy as np
import tensorflow as tf

from tf_madry import config as configs
from tf_madry import datasets
from tf_madry.models import network
from tf_madry.training.bounds import FIXED, BoundsStep
from tf_madry.training.learner import Learner
from tf_madry.training.normalization import normalized


def test_the_inputs_of_all_units_have_variance_one_and_their_bias_as_mean():
  model = network.build((12, 12, 1), 3, initialization="interval")
  generator = np.random.default_rng(0)
  for weight in model.weights[FIXED:]:
    weight.assign(generator.normal(size=weight.shape))
  images = tf.constant(generator.random((64, 12, 12, 1)), tf.float32)
  weights = normalized(model, images)
  _, first, differences, *_ = model.layers
  seen = differences(first(images))
  pooled = tf.nn.max_pool2d(tf.nn.conv2d(seen, weights[2], 1, "SAME"), 2, 2, "SAME") + weights[3]
  inputs = tf.reshape(tf.nn.relu(pooled), [64, -1]) @ weights[4] + weights[5]
  for values, axes, bias in ((pooled, (0, 1, 2), model.weights[3]), (inputs, (0,), model.weights[5])):
    mean, variance = tf.nn.moments(values, axes)
    np.testing.assert_allclose(mean, bias.value, atol=1e-4)
    np.testing.assert_allclose(variance, np.ones(variance.shape), rtol=1e-3)
  for number in (0, 1, 6, 7):
    np.testing.assert_array_equal(weights[number], model.weights[number].value)


def test_gradients_are_those_by_the_weights_that_are_trained(tmp_path):
  values = {"batch_size": 16, "steps": 10, "precision": "float32", "model_dir": str(tmp_path)}
  learner = Learner(configs.resolve(values, "certified")[0], datasets.load())
  step = BoundsStep(learner)
  batch, number = tf.range(16), tf.constant(8)  # ε has risen

  result, gradients = step.gradients(batch, number, False)
  variables = learner.trained.trainable_variables[FIXED:]
  for variable, gradient in zip(variables, gradients, strict=True):
    before, direction = variable.numpy(), np.sign(gradient)
    size = 1e-4 if len(variable.shape) > 1 else 1e-3
    losses = []
    for sign in (1, -1):
      variable.assign(before + sign * size * direction)
      losses.append(float(step.gradients(batch, number, False)[0].loss))
    variable.assign(before)
    slope = (losses[0] - losses[1]) / (2 * size)
    np.testing.assert_allclose(slope, np.abs(gradient).sum(), rtol=0.05, err_msg=variable.path)
  assert float(step.gradients(batch, number, False)[0].loss) == float(result.loss)
