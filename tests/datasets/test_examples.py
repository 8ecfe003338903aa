"""Splits, and pixels as floats."""

import numpy as np
import pytest

from tests.helpers.errors import error_of
from tf_madry import datasets


def test_examples_are_spread_over_all():
  numbers = np.arange(20)
  split = datasets.Split(numbers.astype(np.uint8).reshape(20, 1, 1, 1), numbers.astype(np.int32))
  assert split.spread(4).labels.tolist() == [0, 5, 10, 15]
  assert split.spread(4).images.ravel().tolist() == [0, 5, 10, 15]
  assert split.spread(20).labels.tolist() == list(range(20))
  assert "21" in error_of(split.spread, 21)


def test_head():
  test = datasets.load().test
  head = test.head(3)
  assert len(head) == 3 and head.labels.tolist() == [7, 2, 1]
  np.testing.assert_array_equal(head.images, test.images[:3])
  assert len(test.head(10_000)) == 10_000
  assert "10000" in error_of(test.head, 10_001)
  for n in (0, -1):
    assert str(n) in error_of(test.head, n)


def test_as_float_is_the_same_everywhere():
  import tensorflow as tf

  pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
  floats = datasets.as_float(pixels)
  assert isinstance(floats, np.ndarray) and floats.dtype == np.float32 and floats.shape == pixels.shape
  # Half a unit in the last place below 1 from rounding 1/255, as much again from rounding the product.
  np.testing.assert_allclose(floats.ravel(), np.arange(256) / 255, rtol=2**-23)
  assert floats.min() == 0.0 and floats.max() == 1.0
  tensor = tf.constant(pixels)
  eager, traced = datasets.as_float(tensor), tf.function(datasets.as_float)(tensor)
  assert eager.dtype == traced.dtype == tf.float32
  np.testing.assert_array_equal(eager, floats)
  np.testing.assert_array_equal(traced, floats)


def test_as_float_refuses_what_is_scaled_already():
  with pytest.raises(TypeError, match="float32"):
    datasets.as_float(np.zeros((1, 28, 28, 1), np.float32))
