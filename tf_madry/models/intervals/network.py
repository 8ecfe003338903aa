"""Boxes on their way through a network, and the margins that they leave."""

from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tf_madry.models import thresholds
from tf_madry.models.intervals.boxes import Box, affine, gamma
from tf_madry.models.intervals.layers import pooled, rule, same, terms_of
from tf_madry.models.layers import PooledConvolution

IMAGES = -1  # the place of what a network is given


class _Step(NamedTuple):
  """A layer, and the places of what it takes: numbers of steps, or `IMAGES`."""

  layer: keras.layers.Layer
  given: list[int]


def hidden(model: keras.Model, box: Box, *, sound: bool) -> tuple[keras.layers.Dense | None, Box]:
  """Takes a box through all layers but the last.

  Args:
    model: a network whose layers are known to `layers.rule`.
    box: of its images.
    sound: whether rounding counts.

  Returns:
    (the last layer, the box of what it sees); where the last is no dense one without an activation,
    (None, the box of the logits).

  Raises:
    UserError: a layer that is not known here.
  """
  steps = _steps(model)
  layer, given = steps[-1]
  if isinstance(layer, keras.layers.Dense) and layer.activation is keras.activations.linear:
    rule(layer, sound)
    return layer, _box_at(steps, given[0], box, sound)
  return None, _box_at(steps, len(steps) - 1, box, sound)


def _steps(model):
  """The layers of a model in the order in which they are computed, that of its output last.

  A layer that is used several times is in as many steps.
  """
  places, steps, left = {id(model.inputs[0]): IMAGES}, [], [model.outputs[0]]
  while left:
    tensor = left[-1]
    if id(tensor) in places:
      left.pop()
      continue
    # Of a layer itself, Keras tells what it was first called with, which another network may be.
    layer, call, _ = tensor._keras_history
    inputs = layer._inbound_nodes[call].input_tensors
    if missing := [each for each in inputs if id(each) not in places]:
      left.extend(missing)
    else:
      places[id(tensor)] = len(steps)
      steps.append(_Step(layer, [places[id(each)] for each in inputs]))
  return steps


def _box_at(steps, place, box, sound):
  """The box of what a step gives; what is not needed for it is not computed."""
  needed, together = {place}, {}
  for number in range(place, IMAGES, -1):
    if number in needed:
      layer, given = steps[number]
      before = steps[given[0]] if given and given[0] != IMAGES else None
      pairs = _pairs(before.layer, layer) if before else []
      together[number] = before, pairs
      needed |= set(before.given if pairs else given)
  found = {IMAGES: box}
  for number in sorted(together):
    (layer, given), (before, pairs) = steps[number], together[number]
    if pairs:
      found[number] = _through_pairs(before.layer, layer, pairs, found[before.given[0]], sound)
    elif isinstance(layer, keras.Model):
      inner = _steps(layer)
      found[number] = _box_at(inner, len(inner) - 1, found[given[0]], sound)
    else:
      found[number] = rule(layer, sound)(layer, [found[each] for each in given], sound)
  return found[place]


def margins(logits: keras.layers.Dense | None, box: Box, labels: tf.Tensor, *,
            sound: bool) -> tf.Tensor:
  """Lower bounds of z_y - z_j, the margin of the label's logit over each other one.

  The difference is one affine map of what the last layer sees: tighter than that of two bounds.

  Args:
    logits, box: as `hidden` returns them.
    labels: y, int32 [batch].
    sound: whether rounding counts.

  Returns:
    [batch, classes]; 0 for the label itself.
  """
  if logits is None:
    of_label = tf.gather(box.lower, labels, batch_dims=1)[:, tf.newaxis]
    # Rounding to the nearest keeps the sign of a difference.
    return tf.where(_one_hot(labels, box.lower), 0.0, of_label - box.upper)
  kernel = tf.transpose(tf.convert_to_tensor(logits.kernel))
  bias = logits.bias if logits.use_bias else tf.zeros(kernel.shape[:1], kernel.dtype)
  box = box.map(lambda end: tf.cast(end, kernel.dtype))
  centre, radius = (box.lower + box.upper) / 2, (box.upper - box.lower) / 2
  middle = tf.linalg.matmul(centre, kernel, transpose_b=True) + bias
  middle = tf.gather(middle, labels, batch_dims=1)[:, tf.newaxis] - middle
  # [label, class, hidden]: a matrix for each label, and of each example the row of its own.
  distances = tf.abs(kernel[:, tf.newaxis] - kernel[tf.newaxis])
  reach = tf.einsum("bh,lch->blc", radius, distances)
  reach = tf.gather(reach, labels, batch_dims=1)
  if sound:
    each = tf.linalg.matmul(box.size(), tf.abs(kernel), transpose_b=True) + tf.abs(bias)
    slack = 2 * gamma(kernel.shape[1])
    both = tf.gather(each, labels, batch_dims=1)[:, tf.newaxis] + each
    reach = (reach + slack * both) * (1 + slack)
  return tf.where(_one_hot(labels, middle), 0.0, middle - reach)


def _one_hot(labels, logits):
  return tf.one_hot(labels, logits.shape[-1], True, False)


def _pairs(first, second) -> Sequence[int]:
  """The first filters of pairs that the next layer sees the difference of alone, as `widen` leaves
  them; empty where there are none."""
  if not (type(first) is type(second) is PooledConvolution):
    return []
  with tf.init_scope():  # numbers, where a graph is traced too
    return thresholds.pairs(first, second)


def _through_pairs(first, second, pairs, box, sound):
  """Two layers, of which the first has pairs of filters that look at the same, under two biases.

  The difference of the two is one function that rises with what they see. Taken as two numbers, it
  would be bounded as if they could move apart.
  """
  kernel, bias = tf.convert_to_tensor(first.kernel), tf.convert_to_tensor(first.bias)
  terms = terms_of(first.kernel) if sound else 0
  seen = pooled(affine(same, kernel, box, terms=terms))
  ends = seen.map(lambda end: tf.nn.relu(end + bias))
  after = tf.convert_to_tensor(second.kernel)
  firsts = list(pairs)
  seconds = [number + 1 for number in firsts]
  with tf.init_scope():
    used = np.asarray(second.kernel).any((0, 1, 3))
  alone = tf.constant([number for number in range(first.filters)
                       if number not in {*firsts, *seconds} and used[number]], tf.int32)
  low, high = (tf.gather(end, firsts, axis=-1) - tf.gather(end, seconds, axis=-1) for end in ends)
  size = None
  if sound:
    largest = tf.reduce_max(box.size())
    each = 2 * gamma(terms) * (largest * tf.reduce_sum(tf.abs(kernel), (0, 1, 2)) + tf.abs(bias))
    error = tf.gather(each, firsts) + tf.gather(each, seconds)
    low, high = low - error, high + error
    size = tf.gather(ends.upper, firsts, axis=-1) + tf.gather(ends.upper, seconds, axis=-1)
  order = tf.concat([firsts, alone], 0)

  def joined(of_pairs, end):
    return tf.concat([of_pairs, tf.gather(end, alone, axis=-1)], -1)

  inputs = Box(joined(low, ends.lower), joined(high, ends.upper))
  size = None if size is None else joined(size, ends.upper)
  terms = terms_of(second.kernel) if sound else 0
  box = affine(same, tf.gather(after, order, axis=2), inputs, bias=second.bias, terms=terms,
               size=size)
  return pooled(box).map(tf.nn.relu)
