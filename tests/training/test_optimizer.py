"""Adam in one pass."""

import keras
import numpy as np
import tensorflow as tf

from tf_madry.training import optimizer


def test_adam_is_that_of_keras():
  ours, theirs = tf.Variable([1.0, -2.0, 3.0]), tf.Variable([1.0, -2.0, 3.0])
  quick, known = optimizer.Adam(0.1, epsilon=1e-8), keras.optimizers.Adam(0.1, epsilon=1e-8)
  for step in range(5):
    gradient = tf.random.stateless_normal([3], (step, 0))
    quick.apply_gradients([(gradient, ours)])
    known.apply_gradients([(gradient, theirs)])
  np.testing.assert_allclose(ours, theirs, rtol=1e-5)
  assert int(quick.iterations) == 5
