"""Initial weights that see a pixel only as far as an attacker cannot change what it is.

A pixel x in [0, 1] that an attacker moves by up to ε is still worth

    clip((x - ε) / (1 - 2ε), 0, 1)  =  relu((x - ε) / (1 - 2ε)) - relu((x - (1 - ε)) / (1 - 2ε)):

0 if it was black, 1 if it was white. Robust networks for MNIST end up with such thresholds in their first layer (Mądry et
al. 2018, appendix C); the ones here begin with them. Each is a pair of the first layer's filters, one a ReLU, whose
difference the second layer starts by taking. Max-pooling makes "one of four pixels is white" of them; pairs that look at
1 - x make "one of four is black". From there on training is free to change every weight.
"""

import numpy as np

# Which pixel of the 5×5 a filter looks at: its own and the next ones, so that pooling sees 2×2 blocks at every offset.
TAPS = ((2, 2), (2, 3), (3, 2), (3, 3))
STEEPEST = 10.0  # of a threshold; for ε near 1/2, where it would be a jump, and beyond
OTHERS = 0.1  # factor of the other filters' weights, which begin small so as not to open the door again


def give(model, epsilon):
  """Gives a fresh network (`model.build`) these weights: 16 of the first layer's filters, and what the second makes of them.

  Args:
    model: with weights as from He et al. (2015), which the other filters and layers keep.
    epsilon: radius of the ball, in units of the pixel range.
  """
  weights = {variable.path: variable for variable in model.weights}
  kernel, bias = weights["conv1/kernel"].numpy() * OTHERS, weights["conv1/bias"].numpy()
  second = weights["conv2/kernel"].numpy()
  slope = 1 / max(1 - 2 * epsilon, 1 / STEEPEST)
  channels = kernel.shape[2]
  for number, (white, tap) in enumerate((white, tap) for white in (True, False) for tap in TAPS):
    first, other = 2 * number, 2 * number + 1
    kernel[..., [first, other]] = 0
    # Of a colour image, the mean over its channels.
    kernel[*tap, :, [first, other]] = (slope if white else -slope) / channels
    # Of u = x or u = 1 - x: relu(slope · (u - 1/2) ± 1/2), which are those above where the slope is 1 / (1 - 2ε).
    bias[[first, other]] = slope * (-0.5 if white else 0.5) + np.array([0.5, -0.5])
    second[:, :, other] = -second[:, :, first]
  for path, values in (("conv1/kernel", kernel), ("conv1/bias", bias), ("conv2/kernel", second)):
    weights[path].assign(values)
