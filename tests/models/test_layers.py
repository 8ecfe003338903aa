"""Layers: the same mathematics in quicker forms."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_madry.models import layers


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (6, 10, 2), (27, 28, 1), (8, 8, 6)])
def test_pooled_convolution_is_convolution_bias_relu_and_pooling(shape):
  random = keras.initializers.RandomNormal(0.0, 0.3, seed=1)
  layer = layers.PooledConvolution(8, random, random)
  images = tf.random.stateless_uniform((3, *shape), (0, 1))

  def plain(images):
    return tf.nn.max_pool2d(tf.nn.relu(tf.nn.conv2d(images, layer.kernel, 1, "SAME") + layer.bias), 2, 2, "SAME")

  def with_gradients(function):
    with tf.GradientTape() as tape:
      tape.watch(images)
      out = function(images)
      value = tf.reduce_sum(out * tf.random.stateless_normal(out.shape, (2, 3)))
    return out, *tape.gradient(value, [images, layer.kernel.value, layer.bias.value])

  layer(images)
  for ours, theirs in zip(with_gradients(layer), with_gradients(plain), strict=True):
    np.testing.assert_allclose(ours, theirs, atol=2e-4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_pair_differences_are_first_minus_second_to_the_last_bit(dtype):
  filtered = tf.cast(tf.random.stateless_normal((3, 6, 6, 16), (0, 1)) * 1e3, dtype)
  change = tf.cast(tf.random.stateless_normal((3, 6, 6, 8), (2, 3)), dtype)
  with tf.GradientTape() as tape:
    tape.watch(filtered)
    out = layers.PairDifferences(dtype=dtype)(filtered)
  gradient = tape.gradient(out, filtered, output_gradients=change)
  np.testing.assert_array_equal(out, filtered[..., 0::2] - filtered[..., 1::2])
  np.testing.assert_array_equal(gradient[..., 0::2], change)
  np.testing.assert_array_equal(gradient[..., 1::2], -change)
