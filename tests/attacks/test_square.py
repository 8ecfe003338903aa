import numpy as np
import pytest
import tensorflow as tf

from tf_madry.attacks import Square, linf, square
from tf_madry.errors import UserError

IMAGES = np.random.default_rng(0).uniform(0.3, 0.7, (8, 12, 10, 3)).astype(np.float32)
LABELS = np.zeros(8, np.int32)


class Counting:
  """A model that counts the images it is asked about."""

  def __init__(self, logits):
    self._logits = logits
    self.asked = tf.Variable(0)

  def __call__(self, images):
    self.asked.assign_add(tf.shape(images)[0])
    return self._logits(images)


def never_wrong(images):
  mean = tf.reduce_mean(images, [1, 2, 3])
  return tf.stack([2 + 0 * mean, mean], -1)


def bright_is_wrong(threshold):
  def logits(images):
    mean = tf.reduce_mean(images, [1, 2, 3])
    return tf.stack([threshold + 0 * mean, mean], -1)
  return logits


@pytest.mark.parametrize("queries", [1, 2, 100, 101, 250])
def test_every_query_counts_and_none_more_is_made(queries):
  model = Counting(never_wrong)
  Square(queries=queries)(model, IMAGES, LABELS)
  # Besides: the image itself, before, and what was found, after.
  assert model.asked.numpy() == (queries + 2) * len(IMAGES)


def test_it_ends_when_all_are_fooled():
  def wrong_if_changed(images):
    change = tf.reduce_max(tf.abs(images - IMAGES), [1, 2, 3])
    return tf.stack([0.01 + 0 * change, change], -1)

  model = Counting(wrong_if_changed)
  Square()(model, IMAGES, LABELS)
  assert model.asked.numpy() == 3 * len(IMAGES), "before, the stripes, after"


def test_what_is_fooled_is_not_asked_about_after_the_round():
  images = np.concatenate([IMAGES[:4], np.full((3, 12, 10, 3), 0.9, np.float32),
                           np.zeros((1, 12, 10, 3), np.float32)])
  model = Counting(bright_is_wrong(0.55))
  Square(queries=300, epsilon=0.2)(model, images, LABELS)
  # Three are wrong as they are, and four are fooled, within the first round; one never is.
  assert model.asked.numpy() == 8 + 8 * square.ROUND + 1 * 200 + 8


def test_the_first_query_is_vertical_stripes_at_the_sides_of_the_ball():
  lower, upper = linf.ball(tf.constant(IMAGES), 0.1)
  found = square._stripes(lower, upper, tf.constant([1, 2])).numpy()
  up = found > IMAGES
  np.testing.assert_allclose(found, np.where(up, IMAGES + 0.1, IMAGES - 0.1), atol=1e-6)
  assert np.all(up == up[:, :1])
  assert 0.35 < up[:, 0].mean() < 0.65


def test_a_query_moves_one_square_of_every_image_to_a_side_of_the_ball():
  lower, upper = linf.ball(tf.constant(IMAGES), 0.1)
  places = set()
  for query in range(60):
    proposed = square._square(tf.constant(IMAGES), lower, upper, 4, tf.constant([7, query])).numpy()
    np.testing.assert_allclose(np.abs(proposed - IMAGES)[proposed != IMAGES], 0.1, atol=1e-6)
    for moved, delta in zip(proposed != IMAGES, proposed - IMAGES, strict=True):
      rows, columns = np.flatnonzero(moved.any((1, 2))), np.flatnonzero(moved.any((0, 2)))
      assert len(rows) == len(columns) == 4 and np.ptp(rows) == np.ptp(columns) == 3 and moved.sum() == 4 * 4 * 3
      for channel in range(3):
        assert len(set(np.sign(delta[..., channel][moved[..., channel]]))) == 1
      places.add((rows[0], columns[0]))
  assert {row for row, _ in places} == set(range(9)) and {column
                                                          for _, column in places} == set(range(7))


def test_a_square_never_changes_nothing():
  lower, upper = linf.ball(tf.constant(IMAGES), 0.1)
  for query in range(20):
    proposed = square._square(upper, lower, upper, 3, tf.constant([7, query])).numpy()
    assert np.all(np.any(proposed != upper, (1, 2, 3)))


def test_the_area_falls_as_in_the_paper():
  sides = square.sides(10_000, 0.8, 28, 28)
  falls = np.flatnonzero(np.diff(sides)) + 1
  # By hand: √(0.8 · 784) = 25.04, and √2 less at each of nine halvings, the eighth of which rounds
  # to 2 pixels as well.
  assert falls.tolist() == [11, 51, 201, 501, 1001, 2001, 4001, 8001]
  assert sides[falls].tolist() == [18, 13, 9, 6, 4, 3, 2, 1] and sides[0] == 25
  np.testing.assert_array_equal(square.sides(5_000, 0.8, 28, 28), sides[::2])
  assert square.sides(10, 1.0, 12, 10).max() == 10


def test_it_finds_a_weak_spot_without_a_gradient():
  def spot(images):
    """Wrong if a patch of four pixels is bright; no gradient reaches the image."""
    bright = tf.reduce_mean(tf.round(20 * images[:, 3:5, 6:8]) / 20, [1, 2, 3])
    return tf.stack([0.65 + 0 * bright, bright], -1)

  images = np.full((20, 12, 12, 1), 0.5, np.float32)
  adversarial = Square(queries=600, epsilon=0.2)(spot, images, np.zeros(20, np.int32))
  assert np.all(np.argmax(spot(adversarial), -1) == 1)


def test_what_stands_is_returned_at_its_lowest_margin():
  adversarial = Square(queries=400, epsilon=0.1)(never_wrong, IMAGES, LABELS)
  # The margin falls with every pixel that goes up; of the stripes half do.
  assert np.mean(adversarial > IMAGES) > 0.8


@pytest.mark.parametrize("settings, words",
                         [({"queries": 0}, "queries is 0"), ({"p_init": 1.5}, "p_init is 1.5"),
                                             ({"epsilon": -0.1}, "epsilon is -0.1")])
def test_bad_settings_are_named(settings, words):
  with pytest.raises(UserError, match=words):
    Square(**settings)


def test_hopeless_examples_leave_and_hopeful_ones_do_not():
  def two_kinds(images):
    mean = tf.reduce_mean(images, [1, 2, 3])
    gain = tf.where(mean > 0.4, mean, 0.001 * mean)
    return tf.stack([0.74 + 0 * gain, gain], -1)

  images = np.concatenate([np.full((3, 12, 10, 1), 0.6),
                           np.full((5, 12, 10, 1), 0.2)]).astype(np.float32)
  impatient, patient = Counting(two_kinds), Counting(two_kinds)
  found = Square(queries=2000, epsilon=0.15, patience=2.0)(impatient, images, LABELS)
  Square(queries=2000, epsilon=0.15)(patient, images, LABELS)
  assert np.argmax(two_kinds(found), -1).tolist() == [1] * 3 + [0] * 5
  assert impatient.asked.numpy() < 0.5 * patient.asked.numpy()
  assert repr(Square()) == "Square(queries=5000, epsilon=0.3, p_init=0.8)"
