"""FGSM and PGD."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.attacking import IMAGES, LABELS, NET
from tf_madry.attacks import FGSM, PGD, losses, pgd
from tf_madry.attacks.losses import score
from tf_madry.runtime import seeds

W1 = np.array([[1.5, 0.3], [-2, 0.3]], np.float32)


W2 = np.array([[-2.4, 1.2], [0.5, -2.3]], np.float32)


def toy(images):
  """The fixed 2-2-2 net, its inputs in [-1, 1] taken from pixels in [0, 1]."""
  return tf.sigmoid((2 * tf.reshape(images, [-1, 2]) - 1) @ W1) @ W2


def toy_images(points):
  return (np.array(points, np.float32).reshape(-1, 1, 2, 1) + 1) / 2


def test_toy_net_has_its_known_cross_entropies():
  np.testing.assert_allclose(losses.xent(toy(toy_images([(1, -1), (-1, 1)])), tf.constant([0, 1])),
                             [2.2105997, 1.5366700], rtol=1e-6)


@pytest.mark.parametrize("epsilon", [0.1, 0.2, 0.3, 0.4])
@pytest.mark.parametrize("attack", [FGSM, PGD, functools.partial(PGD, k=100)])
def test_attacks_on_the_toy_net_raise_the_loss_within_epsilon(attack, epsilon):
  rng = np.random.default_rng(0)
  images = toy_images(rng.uniform(-1, 1, (100, 2)))
  labels = np.argmax(toy(images), -1).astype(np.int32)
  adversarial = attack(epsilon=epsilon)(toy, images, labels, seed=1)
  assert np.abs(adversarial - images).max() <= epsilon + 1e-6
  assert np.abs(adversarial - images).max() > 0.9 * epsilon
  assert np.all(score(toy, adversarial, labels)[1] > score(toy, images, labels)[1])


def test_ten_steps_of_a_hundredth_stay_well_inside_half():
  images = toy_images([(0, 0), (0.2, -0.3)])
  adversarial = PGD(k=10, alpha=0.01, epsilon=0.5,
                    random_start=False)(toy, images, np.array([0, 1], np.int32))
  np.testing.assert_allclose(np.abs(adversarial - images).max(), 0.1, atol=1e-6)


@pytest.mark.parametrize("loss", ["xent", "cw", "dlr"])
def test_one_full_step_without_random_start_is_fgsm(loss):
  np.testing.assert_array_equal(PGD(k=1, alpha=0.1, epsilon=0.1, random_start=False,
                                    loss=loss)(NET, IMAGES, LABELS),
                                FGSM(epsilon=0.1, loss=loss)(NET, IMAGES, LABELS))


def test_fgsm_is_the_sign_of_finite_differences():
  images, labels = toy_images([(0.1, -0.4), (-0.5, 0.3), (0.6, 0.5)]), np.array([0, 1, 1], np.int32)
  expected = images.copy()
  for pixel in range(2):
    step = np.zeros((1, 1, 2, 1), np.float32)
    step[0, 0, pixel] = 1e-2
    slope = losses.xent(toy(images + step), labels) - losses.xent(toy(images - step), labels)
    expected[:, 0, pixel, 0] += 0.2 * np.sign(slope)
  np.testing.assert_allclose(FGSM(epsilon=0.2)(toy, images, labels), np.clip(expected, 0, 1),
                             atol=1e-6)


def test_one_trace_serves_all_numbers():
  traces = []

  def model(images):
    traces.append(images.shape)
    return NET(images)

  def attack(**settings):
    before = len(traces)
    adversarial = PGD(**settings)(model, IMAGES, LABELS, seed=1)
    return adversarial, len(traces) - before

  ten, first = attack(k=10, alpha=0.01)
  eleven, second = attack(k=11, alpha=0.01)
  _, third = attack(k=11, alpha=0.02, epsilon=0.1)
  assert np.any(ten != eleven)
  assert first == 1 and second == third == 0


def test_training_can_call_maximise_within_its_own_graph():
  attack = PGD(k=5, epsilon=0.1)
  how = {"loss": losses.xent, "k": tf.constant(attack.k), "epsilon": tf.constant(attack.epsilon),
         "alpha": tf.constant(attack.step_size)}
  step = tf.function(lambda images, labels: pgd.maximise(NET, images, labels,
                                                         seeds.key(7, 0, "random start"), **how))
  np.testing.assert_array_equal(step(IMAGES, LABELS), attack(NET, IMAGES, LABELS, seed=7))
