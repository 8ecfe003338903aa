"""The network, in either precision."""

import numpy as np
import tensorflow as tf

from tf_madry import datasets
from tf_madry.models import network


def test_precisions_agree_on_what_they_compute():
  single, half = network.build(seed=3), network.build(seed=3, dtype="bfloat16")
  for ours, theirs in zip(half.weights, single.weights, strict=True):
    ours.assign(tf.cast(theirs, ours.dtype))
  images = datasets.as_float(datasets.load().validation.images[:64])
  assert half(images).dtype == "float32"
  # Eight bits of mantissa, and sums of up to 3,136 terms.
  error = np.abs(half(images) - single(images)).max()
  assert 0 < error < 0.05 * np.abs(single(images)).max()
