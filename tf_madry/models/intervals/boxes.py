"""Boxes, and what affine maps make of them."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

UNIT = 2.0**-24  # of float32's rounding
MORE_TERMS = 8  # centre, radius, bias and the last differences round too


class Box(NamedTuple):
  """The least and the greatest value of each number of a batch."""

  lower: tf.Tensor
  upper: tf.Tensor

  def map(self, function: Callable[[tf.Tensor], tf.Tensor]) -> "Box":
    """The box of a function that only arranges numbers, or falls nowhere."""
    return Box(*map(function, self))

  def size(self) -> tf.Tensor:
    """The greatest absolute value of each number."""
    return tf.maximum(tf.abs(self.lower), tf.abs(self.upper))


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
  box = box.map(lambda end: tf.cast(end, kernel.dtype))
  centre, radius = (box.lower + box.upper) / 2, (box.upper - box.lower) / 2
  more = 0.0
  if terms:
    # Once for what this arithmetic can be wrong by, once for the network's; and the radius rounds.
    slack = 2 * gamma(terms)
    size = box.size() if size is None else size
    radius = radius * (1 + slack) + slack * size
    more = 0.0 if bias is None else slack * (1 + slack) * tf.abs(bias)
  middle = product(centre, kernel)
  middle = middle if bias is None else middle + bias
  reach = product(radius, tf.abs(kernel)) + more
  return Box(middle - reach, middle + reach)


def scaled(box: Box, scale: tf.Tensor, offset: tf.Tensor, *, sound: bool,
           size: tf.Tensor | float = 0.0) -> Box:
  """The box of `x · scale + offset`, number by number.

  Args:
    box: of x.
    scale, offset: tensors that fit x.
    sound: whether rounding counts.
    size: of what cancels in the offset, for sound bounds: an absolute value.
  """
  ends = box.lower * scale + offset, box.upper * scale + offset
  found = Box(tf.minimum(*ends), tf.maximum(*ends))
  return grown(found, box.size() * tf.abs(scale) + tf.abs(offset) + size, 1) if sound else found


def grown(box: Box, size: tf.Tensor, terms: int) -> Box:
  """A box and what rounding adds to it, of sums of so many terms whose absolute values add to
  `size`."""
  more = 2 * gamma(terms) * size
  return Box(box.lower - more, box.upper + more)


def gamma(terms: int) -> float:
  """γ of a sum of so many terms, and of what comes with it."""
  n = terms + MORE_TERMS
  return n * UNIT / (1 - n * UNIT)
