"""Layers: the same mathematics as usual, in quicker forms."""

import keras
import numpy as np
import tensorflow as tf

FEW_CHANNELS = 4  # of an image, see `PooledConvolution`


@keras.saving.register_keras_serializable("tf_madry")
class PooledConvolution(keras.layers.Layer):
  """ReLU of a 5×5 convolution (SAME, with bias) under 2×2 max-pooling, in an order that is quicker.

  Pooling comes before bias and ReLU. They commute, since both are monotone, and in this order three
  quarters of their work, forward and backward, are never done.

  Of an image with few channels the four outputs that a pooling compares are computed as four groups
  of filters of one 3×3 convolution over its 2×2 blocks of pixels. That is 1.44 times the
  arithmetic, but libraries are slow at convolutions of few channels, and slower at their gradients.
  """

  def __init__(self, filters: int, kernel_initializer: keras.Initializer,
               bias_initializer: keras.Initializer, **kwargs: object):
    super().__init__(**kwargs)
    self.filters = filters
    self.kernel_initializer = keras.initializers.get(kernel_initializer)
    self.bias_initializer = keras.initializers.get(bias_initializer)

  def build(self, input_shape: tuple[int | None, ...]) -> None:
    """Makes the weights: kernel [5, 5, channels, filters] and bias [filters]."""
    _, height, width, channels = input_shape
    self._in_blocks = channels <= FEW_CHANNELS and height % 2 == width % 2 == 0
    self.kernel = self.add_weight(shape=(5, 5, channels, self.filters), name="kernel",
                                  initializer=self.kernel_initializer)
    self.bias = self.add_weight(shape=(self.filters,), name="bias",
                                initializer=self.bias_initializer)

  def call(self, images: tf.Tensor) -> tf.Tensor:
    """From [batch, height, width, channels] to [batch, ⌈height / 2⌉, ⌈width / 2⌉, filters]."""
    kernel, bias = tf.convert_to_tensor(self.kernel), tf.convert_to_tensor(self.bias)
    if not self._in_blocks:
      return _pooled_convolution(images, kernel, bias)
    _, height, width, _ = images.shape
    x = _pooled_convolution(tf.nn.space_to_depth(images, 2), in_blocks(kernel), bias, groups=4)
    return tf.reshape(x, [-1, height // 2, width // 2, self.filters])

  def get_config(self) -> dict:
    """What Keras needs to save the layer."""
    return super().get_config() | {
        "filters": self.filters,
        "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        "bias_initializer": keras.initializers.serialize(self.bias_initializer)}


@keras.saving.register_keras_serializable("tf_madry")
class PairDifferences(keras.layers.Layer):
  """Of each pair of channels the first minus the second.

  As a 1×1 convolution with weights of 1 and -1, which on a CPU is the same to the last bit: with
  slices of every other channel, and their gradients, two fifths of a network's time would go here.
  """

  def call(self, filtered: tf.Tensor) -> tf.Tensor:
    """From [batch, height, width, 2 n] to [batch, height, width, n]."""
    signs = np.kron(np.eye(filtered.shape[-1] // 2), [[1], [-1]])  # [2 n, n]
    return tf.nn.conv2d(filtered, tf.constant(signs[None, None], filtered.dtype), 1, "SAME")


def _pooled_convolution(images, kernel, bias, groups=1):
  """ReLU of a convolution with bias, and the maximum over 2×2 pixels or over groups of filters.

  In this order libraries do convolution, bias and ReLU in one kernel. Backward the ReLU comes
  first, which is the same, since a maximum above 0 is never one that the ReLU cut: so it and the
  sum of the bias see a quarter of the numbers.
  """
  @tf.custom_gradient
  def function(images, kernel, bias):
    biases = tf.tile(bias, [groups])  # a filter's is that of each group
    filtered = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(images, kernel, 1, "SAME"), biases))
    rows = filtered
    size = {"ksize": [1, 2, 2, 1], "strides": [1, 2, 2, 1], "padding": "SAME"}
    if groups > 1:
      _, height, width, filters = filtered.shape
      rows = tf.reshape(filtered, [-1, height * width, groups, filters // groups])
      size = {"ksize": [1, 1, groups, 1], "strides": [1, 1, groups, 1], "padding": "VALID"}
    pooled = tf.raw_ops.MaxPool(input=rows, **size)

    def gradient(change):
      change = tf.raw_ops.ReluGrad(gradients=change, features=pooled)
      of_bias = tf.reduce_sum(change, (0, 1, 2))
      change = tf.raw_ops.MaxPoolGrad(orig_input=rows, orig_output=pooled, grad=change, **size)
      change = tf.reshape(change, tf.shape(filtered))
      how = {"out_backprop": change, "strides": [1, 1, 1, 1], "padding": "SAME"}
      return (
          tf.raw_ops.Conv2DBackpropInput(input_sizes=tf.shape(images), filter=kernel, **how),
          tf.raw_ops.Conv2DBackpropFilter(input=images, filter_sizes=kernel.shape, **how), of_bias)

    return pooled, gradient
  return function(images, kernel, bias)


def in_blocks(kernel: tf.Tensor) -> tf.Tensor:
  """The kernel of a 5×5 convolution as one of 3×3 over 2×2 blocks of pixels (`space_to_depth`).

  Args:
    kernel: [5, 5, channels, filters].

  Returns:
    [3, 3, 4 · channels, 4 · filters]; the outputs are the four of a block, row by row, with all
    filters each.
  """
  _, _, channels, filters = kernel.shape
  # From a pixel of an output block to one of an input block, `block` blocks and some pixels away: a
  # tap of the kernel, or too far for it. Along one axis, [block, pixel in the input block, pixel in
  # the output block].
  block, source, target = np.ogrid[:3, :2, :2]
  tap = 2 * (block - 1) + source - target + 2
  near = (tap >= 0) & (tap < 5)
  taps = np.where(near, tap, 0)
  # [block y, block x, source y, source x, target y, target x] of both axes.
  y, x = np.s_[:, None, :, None, :, None], np.s_[None, :, None, :, None, :]
  both = 5 * taps[y] + taps[x]
  weights = tf.gather(tf.reshape(kernel, [25, channels, filters]), both)
  weights *= tf.cast((near[y] & near[x])[..., None, None], kernel.dtype)
  return tf.reshape(tf.transpose(weights, (0, 1, 2, 3, 6, 4, 5, 7)), [3, 3, 4 * channels, 4 * filters])
