"""Attacks towards a class."""

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.attacking import IMAGES, LABELS, NET, accuracy
from tf_madry.attacks import FGSM, MultiTargeted
from tf_madry.attacks.apgd import APGDT
from tf_madry.attacks.targeted import Targeted, likely_targets


def test_targeted_attacks_reach_their_target():
  for target in range(5):
    rows = target != LABELS
    targets = np.full(rows.sum(), target, np.int32)
    adversarial = Targeted(k=20, epsilon=0.5)(NET, IMAGES[rows], targets, seed=0)
    assert np.mean(np.argmax(NET(adversarial), -1) == target) > 0.9


def test_likely_targets_are_the_wrong_classes_by_logit():
  model = lambda images: tf.repeat([[3.0, 1.0, 2.0, -1.0]], len(images), 0)  # noqa: E731
  labels = np.array([0, 2, 3], np.int32)
  assert likely_targets(model, IMAGES[:3], labels).numpy().tolist() == [[2, 1, 3], [0, 1, 3],
                                                                        [0, 2, 1]]


def test_multitargeted_finds_the_one_class_that_gives_way():
  def model(images):
    """Class 1 comes near at once and never nearer; class 2 starts far off and overtakes it."""
    pixel = tf.reshape(images, [-1, 1])
    return tf.concat([0 * pixel, -0.1 - 0 * pixel + tf.minimum(5 * (pixel - 0.5), 0.05),
                      10 * (0.48 - pixel) - 1], 1)

  images, labels = np.full((20, 1, 1, 1), 0.5, np.float32), np.zeros(20, np.int32)
  assert accuracy(model, FGSM(epsilon=0.2), images, labels) == 1
  assert accuracy(model, MultiTargeted(k=10, epsilon=0.2), images, labels) == 0


def test_multitargeted_tries_no_more_targets_than_it_is_told():
  def model(images):
    """Class 1 is likelier and never wins; class 2 does."""
    pixel = tf.reshape(images, [-1, 1])
    return tf.concat([0 * pixel, -0.1 - 0 * pixel, 10 * (0.31 - pixel)], 1)

  images, labels = np.full((5, 1, 1, 1), 0.5, np.float32), np.zeros(5, np.int32)
  for targets, stands in ((1, 1), (2, 0), (None, 0)):
    assert accuracy(model, MultiTargeted(k=10, epsilon=0.2, targets=targets), images,
                    labels) == stands
  assert MultiTargeted(targets=1).cost(10).gradients == 100
  assert MultiTargeted(scout=5).cost(10).gradients < 100
  assert repr(MultiTargeted()) == "MultiTargeted(k=100, epsilon=0.3, alpha=None)"


@pytest.mark.parametrize("attack", [MultiTargeted, APGDT])
def test_a_scout_leaves_the_full_search_to_examples_that_came_near(attack):
  asked = tf.Variable(0)

  def model(images):
    """Bright images come near to falling; dark ones never do."""
    asked.assign_add(tf.shape(images)[0])
    pixel = tf.reshape(images, [-1, 1])
    gain = tf.where(pixel > 0.5, 10 * (0.9 - pixel), 0.001 * pixel)
    return tf.concat([0 * pixel + 4.0, gain, 0 * pixel - 9, 0 * pixel - 9], 1)

  images = np.array([0.7] * 2 + [0.2] * 6, np.float32).reshape(-1, 1, 1, 1)
  labels = np.zeros(8, np.int32)
  counts = []
  for scout in (None, 5):
    asked.assign(0)
    found = attack(k=50, epsilon=0.195, targets=1, scout=scout)(model, images, labels)
    assert np.argmax(model(found), -1).tolist() == [0] * 8
    counts.append(int(asked.numpy()))
  assert counts[1] < 0.5 * counts[0]


GREY, ZEROS = np.full((50, 1, 1, 1), 0.5, np.float32), np.zeros(50, np.int32)


def test_after_a_scout_of_all_classes_the_near_ones_are_searched_in_full():
  def model(images):
    """Class 1 never comes near; class 2 does and never wins; class 3, the least likely, wins near
    0.6."""
    pixel = tf.reshape(images, [-1, 1])
    return tf.concat([0 * pixel, 0.01 * pixel - 0.5, tf.minimum(10 * (0.5 - pixel), 0.5) - 0.6,
                      0.1 - 80 * (pixel - 0.6)**2], 1)

  # The last of five steps is 0.1 long: it ends 0.05 away from where class 3 wins by the most.
  for settings, stands in (({"k": 5}, 1), ({"scout": 5}, 0), ({"scout": 5, "targets": 2}, 1)):
    assert accuracy(model, MultiTargeted(epsilon=0.25, **settings), GREY, ZEROS) == stands


def test_what_the_scout_broke_is_not_lost():
  def model(images):
    """Class 1 rises towards 0.6; it does not win there, but 0.05 away from it."""
    away = tf.abs(tf.reshape(images, [-1, 1]) - 0.6)
    won = (away > 0.04) & (away < 0.06)
    return tf.concat([0 * away, -0.05 - 10 * away + tf.where(won, 9.0, 0.0)], 1)

  for scout, stands in ((None, 1), (5, 0)):
    assert accuracy(model, MultiTargeted(epsilon=0.25, scout=scout), GREY, ZEROS) == stands
