"""Several tries, each on what still stands."""

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.attacking import NET, accuracy, random_net
from tf_madry import attacks, datasets
from tf_madry.attacks import PGD, Restarts
from tf_madry.attacks.restarts import in_turn
from tf_madry.evaluation.accuracy import evaluate


def bowl(images):
  """One pixel; wrong about class 0 only further than 0.2 from the middle, and flat within 0.1 of
  it."""
  away = tf.abs(tf.reshape(images, [-1, 1]) - 0.5)
  return tf.concat([0.1 * tf.ones_like(away), tf.nn.relu(away - 0.1)], 1)


def test_success_falls_without_a_random_start_and_rises_with_restarts():
  images, labels = np.full((300, 1, 1, 1), 0.5, np.float32), np.zeros(300, np.int32)
  attack = PGD(k=10, epsilon=0.3)
  assert accuracy(bowl, PGD(k=10, epsilon=0.3, random_start=False), images, labels) == 1
  once = accuracy(bowl, attack, images, labels)
  # A third of the random starts lie on the flat part; the bounds are 4 standard deviations of 300
  # draws away.
  assert 1 / 3 - 0.11 < once < 1 / 3 + 0.11
  twice = accuracy(bowl, Restarts(attack=attack, restarts=2), images, labels)
  assert 1 / 9 - 0.08 < twice < 1 / 9 + 0.08
  assert accuracy(bowl, Restarts(attack=attack, restarts=12), images, labels) == 0


@pytest.mark.parametrize("source", [None, random_net(seed=1), random_net(seed=2)])
@pytest.mark.parametrize("name", ["pgd", "apgd"])
def test_accuracy_never_rises_with_restarts(name, source):
  pixels = np.random.default_rng(1).integers(0, 256, (300, 6, 6, 1), np.uint8)
  split = datasets.Split(pixels, np.argmax(NET(datasets.as_float(pixels)), -1).astype(np.int32))
  epsilon = 0.04 if source is None else 0.1
  results = [evaluate(NET, attacks.make(name, {"k": 3, "epsilon": epsilon}, {}, restarts=restarts,
                                        target=NET), split,
                      source=source, batch_size=100) for restarts in (1, 2, 4, 8)]
  accuracies = [result.adversarial_accuracy for result in results]
  assert accuracies == sorted(accuracies, reverse=True) and accuracies[-1] < accuracies[0]


class Randomised:
  """An attack made of a function."""

  randomised = True

  def __init__(self, function):
    self._function = function

  def __call__(self, *arguments, **more):
    return self._function(*arguments, **more)


def test_restarts_attack_only_what_stands_after_the_first_and_keep_the_first_success():
  seen = []

  @Randomised
  def breaks_one(model, images, labels, *, seed):
    seen.append(np.ravel(images))
    return tf.tensor_scatter_nd_update(images, [[0, 0, 0, 0]], [0.9])

  images = np.array([0.1, 0.2, 0.3, 0.95], np.float32).reshape(-1, 1, 1, 1)
  labels = np.zeros(4, np.int32)
  restarts = Restarts(attack=breaks_one, restarts=2)
  broken = restarts(lambda x: tf.concat([0 * x[:, 0, 0], x[:, 0, 0] - 0.8], 1), images, labels)
  np.testing.assert_allclose(seen[0], [0.1, 0.2, 0.3, 0.95], rtol=1e-6)
  np.testing.assert_allclose(seen[1], [0.2, 0.3], rtol=1e-6)
  np.testing.assert_allclose(np.ravel(broken), [0.9, 0.9, 0.3, 0.95], rtol=1e-6)


def test_a_standing_example_keeps_the_try_of_highest_loss():
  tries = iter([0.6, 0.7, 0.5])
  attack = Randomised(lambda model, images, labels, *, seed: tf.fill(images.shape, next(tries)))
  restarts = Restarts(attack=attack, restarts=3)
  kept = restarts(lambda x: tf.concat([0 * x[:, 0, 0], x[:, 0, 0] - 0.8], 1),
                  np.full((2, 1, 1, 1), 0.1, np.float32), np.zeros(2, np.int32))
  np.testing.assert_allclose(np.ravel(kept), 0.7)


def test_what_is_wrong_as_it_is_keeps_the_first_try_if_that_is_worse():
  tries = [0.95, 0.85, 0.1, 0.99]  # worse; wrong, but less so; right; right to begin with
  images, labels = np.array([0.9, 0.9, 0.9, 0.1],
                            np.float32).reshape(-1, 1, 1, 1), np.zeros(4, np.int32)
  found = in_turn(lambda x: tf.concat([0 * x[:, 0, 0], x[:, 0, 0] - 0.8], 1), images, labels,
                  [lambda images, labels: tf.reshape(tf.constant(tries), images.shape)] * 2)
  np.testing.assert_allclose(np.ravel(found), [0.95, 0.9, 0.9, 0.99])


def test_each_try_has_its_targets_and_examples_without_one_are_left_alone():
  seen = []

  def attempt(images, labels, targets):
    seen.append(targets.numpy().tolist())
    return tf.where(tf.reshape(targets == 2, [-1, 1, 1, 1]), 0.9, images)

  targets = tf.constant([[1, 2, 3], [2, 1, 3], [3, -1, -1], [-1, -1, -1]])
  found = in_turn(lambda x: tf.concat([0 * x[:, 0, 0], x[:, 0, 0] - 0.8], 1),
                  np.full((4, 1, 1, 1), 0.1, np.float32), np.zeros(4, np.int32), [attempt] * 3,
                  targets)
  assert seen == [[1, 2, 3], [2]]
  np.testing.assert_allclose(np.ravel(found), [0.9, 0.9, 0.1, 0.1])
