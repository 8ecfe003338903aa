"""A glance before the search."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.attacking import IMAGES, LABELS, NET, accuracy
from tf_madry.attacks import PGD, MultiTargeted
from tf_madry.attacks.glance import Glance
from tf_madry.errors import UserError

GREY, ZEROS = np.full((6, 1, 1, 1), 0.5, np.float32), np.zeros(6, np.int32)


def near_at(best):
  """Class 1 comes near wherever a pixel goes, and wins in one place alone."""

  def model(images):
    pixel = tf.reshape(images, [-1, 1])
    return tf.concat([0 * pixel, tf.minimum(10 * tf.abs(pixel - 0.5), 0.9) - 1
                      + tf.where(tf.abs(pixel - best) < 1e-6, 5.0, 0.0)], 1)

  return model


@dataclasses.dataclass(frozen=True)
class MoveTo:
  """Gives every pixel a value, and notes how many images it was given."""

  value: float
  given: list = dataclasses.field(default_factory=list)
  epsilon: float = 0.3
  fewest_classes: int = 2

  def __call__(self, model, images, labels, *, seed=0):
    self.given.append(len(images))
    return tf.fill(images.shape, self.value)


def test_only_what_came_near_is_attacked_further():
  def model(images):
    """Bright images come near to falling, and stand; dark ones never do."""
    pixel = tf.reshape(images, [-1, 1])
    gain = tf.where(pixel > 0.5, 4 * tf.minimum(2 * (pixel - 0.5), 0.9), 0.001 * pixel)
    return tf.concat([0 * pixel + 4.0, gain], 1)

  images = np.array([0.55] * 2 + [0.1] * 6, np.float32).reshape(-1, 1, 1, 1)
  further = MoveTo(0.0)
  Glance(attacks=(further,))(model, images, np.zeros(8, np.int32))
  assert further.given == [2]


def test_what_the_glance_broke_is_kept_and_left_alone():
  def model(images):
    pixel = tf.reshape(images, [-1, 1])
    return tf.concat([0 * pixel, pixel - 0.6], 1)

  further = MoveTo(0.5)
  assert accuracy(model, Glance(attacks=(further,)), GREY, ZEROS) == 0
  assert further.given == []


def test_the_attacks_run_in_turn_each_on_what_is_left():
  first, second = MoveTo(0.2), MoveTo(0.7)
  model, attack = near_at(0.7), Glance(attacks=(first, second, MoveTo(0.3)))
  assert accuracy(model, Glance(attacks=(first,)), GREY, ZEROS) == 1
  assert accuracy(model, attack, GREY, ZEROS) == 0
  assert (first.given, second.given, attack.attacks[2].given) == ([6, 6], [6], [])


def test_what_it_finds_lies_in_the_ball():
  found = Glance(attacks=(MultiTargeted(epsilon=0.04, k=20),), k=2)(NET, IMAGES, LABELS)
  assert np.mean(np.argmax(NET(found), -1) != LABELS) > 0.5
  assert np.abs(found - IMAGES).max() <= 0.04 + 1e-6
  assert np.min(found) >= 0 and np.max(found) <= 1


@pytest.mark.parametrize(("settings", "words"), [
    ({"attacks": ()}, "number of attacks is 0"), ({"attacks": (PGD(),), "k": 0}, "k is 0")])
def test_bad_settings_are_named(settings, words):
  with pytest.raises(UserError, match=words):
    Glance(**settings)


def test_a_label_that_is_no_class_is_named():
  with pytest.raises(UserError, match="label is 7, accepted: whole numbers from 0 to 4"):
    Glance(attacks=(PGD(),))(NET, IMAGES, np.full(len(IMAGES), 7))


def test_it_costs_little_more_than_its_steps():
  attack = PGD(k=100)
  assert 10 < Glance(attacks=(attack,)).cost(10).gradients < 50 < attack.cost(10).gradients
  assert "PGD(k=100" in repr(Glance(attacks=(attack,)))
