"""What each kind of layer makes of a box."""

from collections.abc import Callable

import keras
import tensorflow as tf

from tf_madry.errors import UserError, require
from tf_madry.models.intervals import boxes
from tf_madry.models.intervals.boxes import Box, affine
from tf_madry.models.layers import PairDifferences, PooledConvolution

LAYERS, ACTIVATIONS = keras.layers, keras.activations
Rule = Callable[[keras.layers.Layer, list[Box], bool], Box]

# Computed by operations that round to one side: what is greater is no smaller after them.
RISING = (ACTIVATIONS.linear, ACTIVATIONS.relu, ACTIVATIONS.relu6, ACTIVATIONS.leaky_relu,
          ACTIVATIONS.hard_sigmoid)
# Rising, but computed by series that may be wrong in their last bits, here by 2⁷ of them.
SMOOTH = (ACTIVATIONS.tanh, ACTIVATIONS.sigmoid, ACTIVATIONS.softplus, ACTIVATIONS.softsign,
          ACTIVATIONS.elu, ACTIVATIONS.selu, ACTIVATIONS.exponential)
WRONG = 2.0**-17


def rule(layer: keras.layers.Layer, sound: bool) -> Rule:
  """What takes (layer, boxes of its inputs, whether rounding counts) to the box of its output.

  Raises:
    UserError: no bounds are known of such a layer, or sound ones are asked for of one that does not
      compute in float32; its name is said.
  """
  if type(layer) not in RULES:
    known = ", ".join(sorted(kind.__name__ for kind in RULES))
    raise UserError(f"layer {layer.name!r} is a {type(layer).__name__}, of which no bounds are "
                    f"known, accepted: {known}")
  exact = layer.compute_dtype in ("float32", "float64")
  require(exact or not sound, f"layer {layer.name!r}", f"one that computes in {layer.compute_dtype}",
          "float32")
  return RULES[type(layer)]


def terms_of(kernel: tf.Tensor) -> int:
  """The most products of a sum: what is multiplied by 0 rounds nothing."""
  with tf.init_scope():  # a number, where a graph is traced too
    counts = tf.math.count_nonzero(tf.convert_to_tensor(kernel), range(len(kernel.shape) - 1))
    return int(tf.reduce_max(counts))


def same(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
  """The convolution of `PooledConvolution`."""
  return tf.nn.conv2d(x, kernel, 1, "SAME")


def pooled(box: Box) -> Box:
  """What is left of it after 2×2 max-pooling."""
  return box.map(lambda end: tf.nn.max_pool2d(end, 2, 2, "SAME"))


def _convolution(layer, given, sound):
  def product(x, kernel):
    return tf.nn.conv2d(x, kernel, [1, *layer.strides, 1], layer.padding.upper(),
                        dilations=layer.dilation_rate)

  require(layer.groups == 1 and layer.data_format == "channels_last",
          f"convolution {layer.name!r}", "one with groups or channels first", "a plain one")
  return _weighted(layer, product, given, sound)


def _depthwise(layer, given, sound):
  def product(x, kernel):
    return tf.nn.depthwise_conv2d(x, kernel, [1, *layer.strides, 1], layer.padding.upper(),
                                  dilations=layer.dilation_rate)

  plain = layer.data_format == "channels_last" and len(set(layer.strides)) == 1
  require(plain, f"convolution {layer.name!r}", "one with channels first or uneven strides",
          "a plain one")
  return _weighted(layer, product, given, sound, terms=layer.kernel_size[0] * layer.kernel_size[1])


def _dense(layer, given, sound):
  return _weighted(layer, lambda x, kernel: tf.tensordot(x, kernel, 1), given, sound)


def _weighted(layer, product, given, sound, terms=None):
  kernel = tf.convert_to_tensor(layer.kernel)
  terms = (terms or terms_of(layer.kernel)) if sound else 0
  box = affine(product, kernel, *given, bias=layer.bias if layer.use_bias else None, terms=terms)
  return _activated(layer, [box], sound)


def _pooled_convolution(layer, given, sound):
  terms = terms_of(layer.kernel) if sound else 0
  box = affine(same, tf.convert_to_tensor(layer.kernel), *given, bias=layer.bias, terms=terms)
  return pooled(box).map(tf.nn.relu)


def _activated(layer, given, sound):
  (box,), function = given, layer.activation
  if isinstance(function, LAYERS.Layer):
    return rule(function, sound)(function, given, sound)
  if function in RISING:
    return box.map(function)
  accepted = ", ".join(each.__name__ for each in (*RISING, *SMOOTH))
  require(function in SMOOTH, f"activation of {layer.name!r}",
          getattr(function, "__name__", function), accepted)
  return _smooth(box.map(function), sound)


def _smooth(box, sound):
  more = WRONG * (box.size() + WRONG) if sound else 0.0
  return Box(box.lower - more, box.upper + more)


def _elu(layer, given, sound):
  require(layer.alpha >= 0, f"layer {layer.name!r}", "an ELU that falls somewhere",
          "one that does not")
  return _smooth(_mapped(layer, given, sound), sound)


def _mapped(layer, given, sound):
  (box,) = given
  return box.map(layer)


def _averaged(layer, given, sound):
  (box,) = given
  found = box.map(layer)
  sides = layer.pool_size if hasattr(layer, "pool_size") else box.lower.shape[1:3]
  return boxes.grown(found, layer(box.size()), sides[0] * sides[1]) if sound else found


def _normalised(layer, given, sound):
  """As in inference: by means and variances that stay."""
  channels_last = layer.axis in (-1, len(given[0].lower.shape) - 1)
  require(channels_last, f"layer {layer.name!r}", "one with channels first", "channels last")
  variance = tf.convert_to_tensor(layer.moving_variance) + layer.epsilon
  scale = tf.math.rsqrt(variance)
  scale = scale * layer.gamma if layer.scale else scale
  shift = -layer.moving_mean * scale
  size, offset = tf.abs(shift), shift + layer.beta if layer.center else shift
  return boxes.scaled(*given, scale, offset, sound=sound, size=size)


def _rescaled(layer, given, sound):
  box = given[0].map(lambda end: tf.cast(end, layer.compute_dtype))
  scale, offset = (tf.convert_to_tensor(value, box.lower.dtype)
                   for value in (layer.scale, layer.offset))
  return boxes.scaled(box, scale, offset, sound=sound)


def _added(layer, given, sound):
  found = Box(tf.add_n([box.lower for box in given]), tf.add_n([box.upper for box in given]))
  size = tf.add_n([box.size() for box in given])
  return boxes.grown(found, size, len(given)) if sound else found


def _concatenated(layer, given, sound):
  return Box(layer([box.lower for box in given]), layer([box.upper for box in given]))


def _pair_differences(layer, given, sound):
  require(not sound, f"layer {layer.name!r}", "a difference of pairs",
          "one of the result, where pairs are looked for")
  # Each difference rises with what both filters see, so that its ends are those of the filters.
  return _mapped(layer, given, sound)


def _unchanged(layer, given, sound):
  return given[0]


RULES: dict[type, Rule] = {
  PooledConvolution: _pooled_convolution, PairDifferences: _pair_differences,
  LAYERS.Conv2D: _convolution, LAYERS.DepthwiseConv2D: _depthwise, LAYERS.Dense: _dense,
  LAYERS.BatchNormalization: _normalised, LAYERS.Rescaling: _rescaled,
  LAYERS.Activation: _activated, LAYERS.ELU: _elu,
  LAYERS.AveragePooling2D: _averaged, LAYERS.GlobalAveragePooling2D: _averaged,
  LAYERS.Add: _added, LAYERS.Concatenate: _concatenated,
  **dict.fromkeys((LAYERS.ReLU, LAYERS.LeakyReLU, LAYERS.MaxPooling2D, LAYERS.GlobalMaxPooling2D,
                   LAYERS.Flatten, LAYERS.Reshape, LAYERS.Permute, LAYERS.ZeroPadding2D,
                   LAYERS.Cropping2D), _mapped),
  **dict.fromkeys((LAYERS.Dropout, LAYERS.SpatialDropout2D), _unchanged)}
