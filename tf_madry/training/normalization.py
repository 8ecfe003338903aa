"""Batch normalisation without its layers: weights that already have it in them."""

import keras
import tensorflow as tf

EXAMPLES = 64  # of a batch, whose statistics are taken: those of 128 make no better networks
SMALLEST_VARIANCE = 1e-5


def normalized(model: keras.Model, images: tf.Tensor,
               dtype: str | tf.DType = tf.float32) -> list[tf.Tensor]:
  """The weights with which each unit's input has mean 0, before its bias, and variance 1.

  Bounds push units below 0, from where they do not return: without this a network trained on them
  ends with half of its filters and two thirds of its units at 0 on all images. Statistics are of
  images as they are, not of bounds (Shi et al. 2021). Scale and mean are merged into kernel
  and bias, so that the network has no other layers than before; what Ioffe and Szegedy (2015)
  learn as a scale, the next layer's weights can do as well.

  Args:
    model: of `network.build(initialization="interval")`; its first layer, the thresholds, and its
      last stay as they are.
    images: float32 [some of the batch, height, width, channels].
    dtype: of convolutions and products; statistics and weights are float32.

  Returns:
    A list of tensors for `model.weights`; gradients go through the statistics as well.
  """
  _, first, differences, convolution, _, hidden, _ = model.layers
  seen = tf.cast(differences(first(images)), dtype)
  kernel, bias = convolution.kernel.value, convolution.bias.value
  filtered = tf.nn.conv2d(seen, tf.cast(kernel, dtype), 1, "SAME")
  pooled = tf.cast(tf.nn.max_pool2d(filtered, 2, 2, "SAME"), tf.float32)
  scale, shift = _standard(pooled, bias)
  weights = [kernel * scale, shift]
  after = tf.nn.relu(pooled * scale + shift)
  kernel, bias = hidden.kernel.value, hidden.bias.value
  after = tf.cast(tf.reshape(after, [tf.shape(after)[0], -1]), dtype)
  scale, shift = _standard(tf.cast(after @ tf.cast(kernel, dtype), tf.float32), bias)
  unchanged = [weight.value for weight in model.weights]
  return [*unchanged[:2], *weights, kernel * scale, shift, *unchanged[6:]]


def _standard(inputs: tf.Tensor, bias: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """(scale, shift) by which the last axis has mean `bias` and variance 1."""
  mean, variance = tf.nn.moments(inputs, list(range(inputs.shape.rank - 1)))
  scale = tf.math.rsqrt(variance + SMALLEST_VARIANCE)
  return scale, bias - mean * scale
