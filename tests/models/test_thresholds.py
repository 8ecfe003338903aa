"""The first layer that an attacker cannot move black and white through, and the paper's network made of it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_madry.models import layers, network, thresholds


@pytest.mark.parametrize(("epsilon", "channels"), [(0.3, 1), (0.1, 3), (0.0, 1), (0.6, 1)])
def test_thresholds_keep_black_and_white_out_of_reach(epsilon, channels):
  net = network.build((8, 8, channels), initialization="threshold", epsilon=epsilon)
  first = keras.Model(net.input, net.get_layer("conv1").output)
  images = np.zeros((1, 8, 8, channels), np.float32)
  images[0, 2, 4] = x = 0.62  # pooled with three black pixels by the filters that look at their own pixel

  def seen(images):
    return layers.PairDifferences()(first(images)).numpy()

  width = max(1 - 2 * epsilon, 0.1)
  np.testing.assert_allclose(seen(images)[0, 1, 2, 0], np.clip((x - 0.5) / width + 0.5, 0, 1), atol=1e-5)
  # Where ε leaves room, no attack on black and white gets through.
  white = np.repeat(np.float32(tf.random.stateless_uniform((4, 8, 8, 1), (0, 1)) < 0.5), channels, 3)
  noise = tf.random.stateless_uniform(white.shape, (2, 3), -1.0, 1.0) * min(epsilon, 0.45)
  attacked = np.clip(white + noise, 0, 1)
  np.testing.assert_allclose(seen(attacked), seen(white), atol=1e-5)
  np.testing.assert_allclose(net(attacked), net(white), atol=1e-3)
  assert np.ptp(net(white).numpy(), 0).min() > 0.01


@pytest.mark.parametrize("shape", [(28, 28, 1), (8, 10, 3)])
def test_the_widened_network_of_thresholds_is_the_papers_and_computes_the_same(shape):
  narrow, wide = network.build(shape, initialization="threshold"), network.build(shape)
  for number, weight in enumerate(narrow.weights):  # as training may leave them
    weight.assign_add(tf.random.stateless_normal(weight.shape, (number, 0), 0.0, 0.1))
  wide.set_weights(thresholds.widen(narrow.weights, [weight.shape for weight in wide.weights]))
  images = tf.random.stateless_uniform((5, *shape), (1, 2))
  np.testing.assert_allclose(wide(images), narrow(images), rtol=1e-4, atol=1e-4)
