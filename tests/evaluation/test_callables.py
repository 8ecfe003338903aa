"""Evaluating any model from Python."""

import numpy as np
import pytest

import tf_madry
from tests.helpers.attacking import NET, random_net
from tests.helpers.errors import error_of
from tf_madry.attacks import PGD, Suite
from tf_madry.errors import UserError

IMAGES = np.random.default_rng(1).integers(0, 256, (20, 6, 6, 1), np.uint8)
LABELS = np.argmax(NET(IMAGES / np.float32(255)), -1)


def test_a_function_of_images_is_enough():
  result, adversarial = tf_madry.evaluate(NET, "suite", IMAGES, LABELS, epsilon=0.03, k=10,
                                          queries=100)
  stands = np.argmax(NET(adversarial), -1) == LABELS
  assert result.adversarial_accuracy == stands.mean() < 1 and result.n == 20
  same, _ = tf_madry.evaluate(NET, Suite(epsilon=0.03, k=10, queries=100), IMAGES / 255, LABELS)
  assert same.adversarial_accuracy == result.adversarial_accuracy


def test_a_single_attack_and_a_source():
  white, found = tf_madry.evaluate(NET, PGD(epsilon=0.05), IMAGES, LABELS)
  black, _ = tf_madry.evaluate(NET, "pgd", IMAGES, LABELS, epsilon=0.05, source=random_net(seed=3))
  assert white.attack == black.attack == repr(PGD(epsilon=0.05))
  assert white.adversarial_accuracy == (np.argmax(NET(found), -1) == LABELS).mean()
  assert white.adversarial_accuracy < black.adversarial_accuracy


@pytest.mark.parametrize(("arguments", "said"), [
    (("pgd", IMAGES / 2, LABELS), "images is "),
    (("pgd", IMAGES / 255 * 1.001, LABELS), "images is "),
    (("pgd", IMAGES[0], LABELS), "shape of images is (6, 6, 1)"),
    (("pgd", IMAGES, LABELS[:3]), "shape of labels is (3,)"),
    (("pgd", IMAGES), "shape of labels"), (("deepfool", IMAGES, LABELS), "attack is 'deepfool'")])
def test_what_cannot_be_used_is_one_line(arguments, said):
  assert said in error_of(tf_madry.evaluate, NET, *arguments)


def test_settings_go_with_a_name():
  with pytest.raises(UserError, match="settings is 'epsilon', accepted: none beside an attack"):
    tf_madry.evaluate(NET, PGD(), IMAGES, LABELS, epsilon=0.1)
