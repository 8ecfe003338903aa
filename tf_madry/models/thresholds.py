"""A first layer that sees a pixel only as far as an attacker cannot change what it is.

A pixel x in [0, 1] that an attacker moves by up to ε is still worth

    clip((x - ε) / (1 - 2ε), 0, 1)  =  relu((x - ε) / (1 - 2ε)) - relu((x - (1 - ε)) / (1 - 2ε)):

0 if it was black, 1 if it was white. Robust networks for MNIST end up with such thresholds in their
first layer (Mądry et al. 2018, appendix C); the network here begins with them. Each is the
difference of a pair of filters, one a ReLU. Max-pooling makes "one of four pixels is white" of
them; pairs that look at 1 - x make "one of four is black". From there on training is free to change
every weight.

Eight such pairs take 16 of the 32 filters. The others, which an attacker could use and training
makes nothing of, are left out, and the second layer sees a pair's difference alone. What is left is
trained as the smaller network that it is, with less than half of the arithmetic; `widen` gives the
paper's network that computes the same.
"""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

# Which pixel of the 5×5 a filter looks at: its own and the next ones, so that pooling sees 2×2
# blocks at every offset.
TAPS = ((2, 2), (2, 3), (3, 2), (3, 3))
FILTERS = 2 * 2 * len(TAPS)  # of the first layer: a pair for each tap, of white and of black
INITIALIZATIONS = ("threshold", "interval")  # of `network.build`, that begin with them
STEEPEST = 10.0  # of a threshold; for ε near 1/2, where it would be a jump, and beyond


def initialize(layer: keras.layers.Layer, epsilon: float) -> None:
  """Gives the first layer these weights.

  Args:
    layer: a `PooledConvolution` of `FILTERS` filters.
    epsilon: radius of the ball, in units of the pixel range.
  """
  kernel, bias = np.zeros(layer.kernel.shape, np.float32), np.zeros(layer.bias.shape, np.float32)
  slope = 1 / max(1 - 2 * epsilon, 1 / STEEPEST)
  channels = kernel.shape[2]
  for number, (white, tap) in enumerate((white, tap) for white in (True, False) for tap in TAPS):
    pair = [2 * number, 2 * number + 1]
    # Of a colour image, the mean over its channels.
    kernel[*tap, :, pair] = (slope if white else -slope) / channels
    # Of u = x or u = 1 - x: relu(slope · (u - 1/2) ± 1/2), which are those above where the slope is
    # 1 / (1 - 2ε).
    bias[pair] = slope * (-0.5 if white else 0.5) + np.array([0.5, -0.5])
  layer.kernel.assign(kernel)
  layer.bias.assign(bias)


def widen(weights: Sequence[tf.Variable], shapes: Sequence[tuple[int, ...]]) -> list[tf.Tensor]:
  """The weights of the paper's network that computes what the network of thresholds does.

  Args:
    weights: of `network.build(initialization="threshold")`, in its order.
    shapes: of the paper's, in that order.

  Returns:
    A list of tensors of these shapes.
  """
  wide = []
  for weight, shape in zip(map(tf.convert_to_tensor, weights), shapes, strict=True):
    if len(shape) == 4 and shape[2] > weight.shape[2]:  # of the second layer: one difference is two inputs
      weight = tf.reshape(tf.stack([weight, -weight], 3), [*shape[:2], -1, shape[3]])
    room = np.subtract(shape, weight.shape)
    wide.append(tf.pad(weight, [(0, more) for more in room]) if room.any() else weight)
  return wide


def pairs(first: keras.layers.Layer, second: keras.layers.Layer) -> list[int]:
  """The pairs of filters that the next layer sees the difference of, as `widen` leaves them.

  Args:
    first, second: convolutions, one after the other.

  Returns:
    The numbers of the first filters of pairs that look at the same, the first under no smaller
    bias, and whose weights in the next layer are opposites.
  """
  kernel, bias, after = (np.asarray(weight) for weight in (first.kernel, first.bias, second.kernel))
  return [number for number in range(0, len(bias) - 1, 2)
          if (kernel[..., number] == kernel[..., number + 1]).all()
          and bias[number] >= bias[number + 1] and after[:, :, number].any()
          and (after[:, :, number] == -after[:, :, number + 1]).all()]
