"""What attacks increase."""

import numpy as np
import tensorflow as tf

from tests.helpers.attacking import NET, accuracy, small
from tf_madry.attacks import losses


def test_cw_is_the_challenges_with_its_flat_part():
  logits = tf.constant([[3.0, 1.0, 2.0], [0.0, 40.0, 1.0], [0.0, 51.0, 1.0], [1e5, 0.0, 2e5]])
  labels = tf.constant([0, 0, 0, 0])
  with tf.GradientTape() as tape:
    tape.watch(logits)
    loss = losses.cw(logits, labels)
  np.testing.assert_array_equal(loss, [-51, -10, 0, 0])
  np.testing.assert_array_equal(tape.gradient(loss, logits),
                                [[-1, 0, 1], [-1, 1, 0], [0, 0, 0], [0, 0, 0]])


def test_dlr_by_hand():
  logits = tf.constant([[5.0, 1.0, 3.0, 2.0], [5.0, 1.0, 3.0, 2.0]])
  labels, targets = tf.constant([0, 2]), tf.constant([2, 1])
  np.testing.assert_allclose(losses.dlr(logits, labels), [-2 / 3, 2 / 3])
  np.testing.assert_allclose(losses.targeted_dlr(logits, labels, targets), [-2 / 3.5, -2 / 3.5])
  np.testing.assert_allclose(losses.difference(logits, labels, targets), [-2, -2])


def test_dlr_does_not_change_with_a_constant_or_a_factor():
  logits = tf.constant(np.random.default_rng(0).normal(size=(50, 6)), tf.float32)
  labels, targets = tf.range(50) % 6, (tf.range(50) + 1) % 6
  for loss in (lambda z: losses.dlr(z, labels), lambda z: losses.targeted_dlr(z, labels, targets)):
    np.testing.assert_allclose(loss(logits + 3), loss(logits), rtol=1e-4)
    np.testing.assert_allclose(loss(logits * 1e6), loss(logits), rtol=1e-4)


def test_dlr_is_finite_where_all_logits_are_equal():
  assert np.all(losses.dlr(tf.zeros([2, 4]), tf.constant([0, 1])) == 0)


def test_dlr_breaks_a_model_whose_large_logits_hide_the_gradient_of_xent():
  def loud(images):
    return 1e4 * NET(images)

  assert accuracy(loud, small("pgd", loss="xent")) > accuracy(loud, small("pgd", loss="dlr")) + 0.1
