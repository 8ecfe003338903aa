"""Interval bounds: what a network can give where its input lies in a box (Gowal et al. 2018).

A box is two tensors, the least and the greatest value of each number. Layer by layer, an affine map
takes the centre of a box along and, by the absolute values of its weights, the radius; what is
monotone takes both ends. Differentiable, so that networks can be trained on their bounds.

Sound bounds hold for the network as it is computed, in float32 and with sums in any order: radii
grow by what rounding can do, γ_n = n u / (1 - n u) of a sum of n terms' absolute values with
u = 2⁻²⁴ (Higham 2002, §3.1), for our arithmetic and for the network's.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from tf_madry.errors import UserError, require
from tf_madry.models import thresholds
from tf_madry.models.layers import PairDifferences, PooledConvolution

UNIT = 2.0**-24  # of float32's rounding
MORE_TERMS = 8  # centre, radius, bias and the last differences round too


class Box(NamedTuple):
  """The least and the greatest value of each number of a batch."""

  lower: tf.Tensor
  upper: tf.Tensor


def around(images: tf.Tensor, epsilon: float | tf.Tensor) -> Box:
  """The images that an attack may choose from (Eq. 3)."""
  return Box(tf.maximum(images - epsilon, 0.0), tf.minimum(images + epsilon, 1.0))


def affine(product: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], kernel: tf.Tensor, box: Box, *,
           bias: tf.Tensor | None = None, terms: int = 0, size: tf.Tensor | None = None) -> Box:
  """The box of `product(x, kernel) + bias`.

  Args:
    product: a convolution or matrix product.
    kernel: its weights.
    box: of x.
    bias: None: none.
    terms: how many products that are not 0 a sum is made of, for sound bounds; 0: rounding is
      left out.
    size: the greatest absolute value of each number that the network's sums are made of; None: that
      of the box.
  """
  box = Box(*(tf.cast(end, kernel.dtype) for end in box))
  centre, radius = (box.lower + box.upper) / 2, (box.upper - box.lower) / 2
  more = 0.0
  if terms:
    # Once for what this arithmetic can be wrong by, once for the network's; and the radius rounds.
    slack = 2 * _gamma(terms)
    size = tf.maximum(tf.abs(box.lower), tf.abs(box.upper)) if size is None else size
    radius = radius * (1 + slack) + slack * size
    more = 0.0 if bias is None else slack * (1 + slack) * tf.abs(bias)
  middle = product(centre, kernel)
  middle = middle if bias is None else middle + bias
  reach = product(radius, tf.abs(kernel)) + more
  return Box(middle - reach, middle + reach)


def _terms(kernel):
  """The most products of a sum: what is multiplied by 0 rounds nothing."""
  return int(tf.reduce_max(tf.math.count_nonzero(kernel, range(len(kernel.shape) - 1))))


def _gamma(terms):
  n = terms + MORE_TERMS
  return n * UNIT / (1 - n * UNIT)


def hidden(model: keras.Model, box: Box, *, sound: bool) -> tuple[keras.layers.Dense, Box]:
  """Takes a box through all layers but the last.

  Returns:
    (the last layer, the box of what it sees).

  Raises:
    UserError: a layer that is not known here, or layers that are no chain.
  """
  layers = chain(model)
  while len(layers) > 1:
    layer, *layers = layers
    if pairs := _pairs(layer, layers[0]):
      box = _through_pairs(layer, layers.pop(0), pairs, box, sound)
      continue
    box = _rule(layer)(layer, box, sound)
  return layers[0], box


def margins(logits: keras.layers.Dense, box: Box, labels: tf.Tensor, *, sound: bool) -> tf.Tensor:
  """Lower bounds of z_y - z_j, the margin of the label's logit over each other one.

  The difference is one affine map of what the last layer sees: tighter than that of two bounds.

  Args:
    logits: the last layer.
    box: of what it sees.
    labels: y, int32 [batch].
    sound: whether rounding counts.

  Returns:
    [batch, classes]; 0 for the label itself.
  """
  kernel, bias = tf.transpose(tf.convert_to_tensor(logits.kernel)), logits.bias
  box = Box(*(tf.cast(end, kernel.dtype) for end in box))
  centre, radius = (box.lower + box.upper) / 2, (box.upper - box.lower) / 2
  middle = tf.linalg.matmul(centre, kernel, transpose_b=True) + bias
  middle = tf.gather(middle, labels, batch_dims=1)[:, tf.newaxis] - middle
  # [label, class, hidden]: a matrix for each label, and of each example the row of its own.
  distances = tf.abs(kernel[:, tf.newaxis] - kernel[tf.newaxis])
  reach = tf.einsum("bh,lch->blc", radius, distances)
  reach = tf.gather(reach, labels, batch_dims=1)
  if sound:
    size = tf.maximum(tf.abs(box.lower), tf.abs(box.upper))
    each = tf.linalg.matmul(size, tf.abs(kernel), transpose_b=True) + tf.abs(bias)
    slack = 2 * _gamma(kernel.shape[1])
    both = tf.gather(each, labels, batch_dims=1)[:, tf.newaxis] + each
    reach = (reach + slack * both) * (1 + slack)
  return tf.where(tf.one_hot(labels, kernel.shape[0], True, False), 0.0, middle - reach)


def chain(model: keras.Model) -> list[keras.layers.Layer]:
  """The layers of a model in which each takes what the one before gives; the last gives logits.

  Raises:
    UserError: it is no such chain, or its last layer is not a dense one without an activation.
  """
  layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
  for one, other in itertools.pairwise(layers):
    linked = other.input is one.output
    require(linked, "model", model.name, f"one whose layers are a chain ({other.name!r} does not "
            f"follow {one.name!r} alone)")
  last = layers[-1]
  linear = isinstance(last, keras.layers.Dense) and last.activation is keras.activations.linear
  require(linear, "last layer", last.name, "a dense one that gives logits")
  return layers


def _convolution(layer, box, sound):
  stride, padding = layer.strides, layer.padding.upper()

  def product(x, kernel):
    return tf.nn.conv2d(x, kernel, [1, *stride, 1], padding)

  plain = layer.groups == 1 and layer.dilation_rate == (1, 1)
  require(plain and layer.data_format == "channels_last", f"convolution {layer.name!r}",
          "one with groups, dilation or channels first", "a plain one")
  kernel = tf.convert_to_tensor(layer.kernel)
  bias = layer.bias if layer.use_bias else None
  terms = _terms(kernel) if sound else 0
  return _activated(layer, affine(product, kernel, box, bias=bias, terms=terms))


def _dense(layer, box, sound):
  kernel = tf.convert_to_tensor(layer.kernel)
  bias = layer.bias if layer.use_bias else None
  terms = _terms(kernel) if sound else 0
  return _activated(layer, affine(tf.linalg.matmul, kernel, box, bias=bias, terms=terms))


def _pooled_convolution(layer, box, sound):
  kernel = tf.convert_to_tensor(layer.kernel)
  terms = _terms(kernel) if sound else 0
  pooled = _pooled(affine(_same, kernel, box, bias=layer.bias, terms=terms))
  return Box(*map(tf.nn.relu, pooled))


def _same(x, kernel):
  return tf.nn.conv2d(x, kernel, 1, "SAME")


def _pooled(box):
  return Box(*(tf.nn.max_pool2d(end, 2, 2, "SAME") for end in box))


def _activated(layer, box):
  if layer.activation is keras.activations.linear:
    return box
  require(layer.activation is keras.activations.relu, f"activation of {layer.name!r}",
          getattr(layer.activation, "__name__", layer.activation), "relu or none")
  return Box(*map(tf.nn.relu, box))


def _max_pooling(layer, box, sound):
  size, strides, padding = layer.pool_size, layer.strides, layer.padding.upper()
  return Box(*(tf.nn.max_pool2d(end, size, strides, padding) for end in box))


def _pair_differences(layer, box, sound):
  require(not sound, f"layer {layer.name!r}", "a difference of pairs",
          "one of the result, where pairs are looked for")
  # Each difference rises with what both filters see, so that its ends are those of the filters.
  return Box(*map(layer, box))


def _unchanged(layer, box, sound):
  return box


def _mapped(layer, box, sound):
  return Box(*map(layer, box))


RULES = {
    PooledConvolution: _pooled_convolution, PairDifferences: _pair_differences,
    keras.layers.Conv2D: _convolution, keras.layers.Dense: _dense,
    keras.layers.MaxPooling2D: _max_pooling, keras.layers.Activation: lambda layer, box, sound:
    _activated(layer, box), keras.layers.Flatten: _mapped, keras.layers.Reshape: _mapped,
    keras.layers.Dropout: _unchanged}


def _rule(layer):
  known = ", ".join(kind.__name__ for kind in RULES)
  if isinstance(layer, keras.layers.ReLU):
    plain = layer.max_value is None and not layer.negative_slope and not layer.threshold
    require(plain, f"layer {layer.name!r}", "a ReLU with other corners", "a plain ReLU")
    return _mapped
  if type(layer) not in RULES:
    raise UserError(f"layer {layer.name!r} is a {type(layer).__name__}, of which no bounds are "
                    f"known, accepted: {known}, ReLU")
  return RULES[type(layer)]


def _pairs(first, second) -> Sequence[int]:
  """The first filters of pairs that the next layer sees the difference of alone, as `widen` leaves
  them; empty where there are none."""
  if not (type(first) is type(second) is PooledConvolution):
    return []
  return thresholds.pairs(first, second)


def _through_pairs(first, second, pairs, box, sound):
  """Two layers, of which the first has pairs of filters that look at the same, under two biases.

  The difference of the two is one function that rises with what they see. Taken as two numbers, it
  would be bounded as if they could move apart.
  """
  kernel, bias = tf.convert_to_tensor(first.kernel), tf.convert_to_tensor(first.bias)
  terms = _terms(kernel) if sound else 0
  seen = _pooled(affine(_same, kernel, box, terms=terms))
  ends = Box(*(tf.nn.relu(end + bias) for end in seen))
  after = tf.convert_to_tensor(second.kernel)
  firsts = list(pairs)
  seconds = [number + 1 for number in firsts]
  used = after.numpy().any((0, 1, 3))
  alone = tf.constant([number for number in range(first.filters)
                       if number not in {*firsts, *seconds} and used[number]], tf.int32)
  low, high = (tf.gather(end, firsts, axis=-1) - tf.gather(end, seconds, axis=-1) for end in ends)
  size = None
  if sound:
    largest = tf.reduce_max(tf.maximum(tf.abs(box.lower), tf.abs(box.upper)))
    each = 2 * _gamma(terms) * (largest * tf.reduce_sum(tf.abs(kernel), (0, 1, 2)) + tf.abs(bias))
    error = tf.gather(each, firsts) + tf.gather(each, seconds)
    low, high = low - error, high + error
    size = tf.gather(ends.upper, firsts, axis=-1) + tf.gather(ends.upper, seconds, axis=-1)
  order = tf.concat([firsts, alone], 0)

  def joined(of_pairs, end):
    return tf.concat([of_pairs, tf.gather(end, alone, axis=-1)], -1)

  inputs = Box(joined(low, ends.lower), joined(high, ends.upper))
  size = None if size is None else joined(size, ends.upper)
  terms = _terms(after) if sound else 0
  box = affine(_same, tf.gather(after, order, axis=2), inputs, bias=second.bias, terms=terms,
               size=size)
  return Box(*map(tf.nn.relu, _pooled(box)))
