import functools

import numpy as np
import pytest
import tensorflow as tf

from tf_madry.attacks import APGD, APGDT, PGD, linf, losses
from tf_madry.attacks.apgd import ascend
from tf_madry.attacks.losses import score
from tf_madry.errors import UserError

KEY = tf.constant([3, 4])
# Steps at which 100 steps have a checkpoint (Croce and Hein 2020): 0.22 of them, then ever 0.03
# less, at least 0.06.
CHECKPOINTS = (22, 41, 57, 70, 80, 87, 93, 99)


def run(model, images, labels, *, loss=losses.xent, k=100, epsilon=0.1, rho=0.75):
  best, step_sizes = ascend(model, tf.constant(images), tf.constant(labels), KEY, loss=loss,
                            k=tf.constant(k), epsilon=tf.constant(epsilon), rho=tf.constant(rho))
  return best.numpy(), np.ravel(step_sizes)


def flat(images):
  """Logits that no image changes, and a gradient of zero."""
  return tf.repeat([[1.0, 0.0, 0.0]], tf.shape(images)[0], 0) + 0 * images[:, 0, 0]


GREY = np.full((4, 2, 2, 1), 0.5, np.float32)
ZEROS = np.zeros(4, np.int32)


@pytest.mark.parametrize("k", [100, 200])
def test_a_loss_that_never_rises_halves_the_step_at_every_checkpoint(k):
  _, step_sizes = run(flat, GREY, ZEROS, k=k)
  np.testing.assert_allclose(step_sizes, 0.2 / 2 ** len(CHECKPOINTS))


def test_the_step_is_halved_at_the_checkpoints_and_not_before():
  asked, limit = tf.Variable(0), tf.Variable(0)

  def wrong_at_limit(images):
    right = tf.cast(asked.assign_add(1) <= limit, tf.float32)
    return flat(images) * right + tf.constant([[0.0, 0.0, 1.0]]) * (1 - right)

  def halvings(steps):
    asked.assign(0)
    limit.assign(steps)
    return np.log2(0.2 / run(wrong_at_limit, GREY, ZEROS)[1])

  for number, checkpoint in enumerate(CHECKPOINTS):
    np.testing.assert_allclose(halvings(checkpoint - 1), number, atol=1e-5)
    np.testing.assert_allclose(halvings(checkpoint), number + 1, atol=1e-5)


def test_a_loss_that_always_rises_keeps_its_step_size():
  asked = tf.Variable(0.0)

  def ever_worse(images):
    return flat(images) - 1e-3 * asked.assign_add(1.0) * tf.constant([[1.0, 0.0, 0.0]])

  np.testing.assert_allclose(run(ever_worse, GREY, ZEROS)[1], 0.2)
  # At ρ = 1 even all steps are no more than the share asked for.
  np.testing.assert_allclose(run(ever_worse, GREY, ZEROS, rho=1.0)[1], 0.2 / 2 ** len(CHECKPOINTS))


def valley(images):
  """Class 1 gains along a bent valley and never wins."""
  a, b, c, d = tf.unstack(tf.reshape(images, [-1, 4]), axis=-1)
  gain = -30 * (b - a * a) ** 2 - (1 - a) ** 2 - 20 * (d - tf.sin(3 * c)) ** 2 + c * b
  return tf.stack([10 + 0 * a, gain, gain - 1], -1)


def gain(logits, labels):
  return logits[:, 1]


@tf.function
def height(image):
  """(gain, its gradient) of one image."""
  with tf.GradientTape() as tape:
    tape.watch(image)
    value = gain(valley(image), None)[0]
  return value, tape.gradient(value, image)


def by_hand(x0, start, k, epsilon, rho):
  """Algorithm 1 of the paper on `valley`, for one example, in NumPy: (best image, last step
  size)."""

  def f(x):
    return float(height(tf.constant(x))[0])

  def direction(x):
    return np.sign(height(tf.constant(x))[1])

  def project(x):
    return np.clip(x, np.maximum(x0 - epsilon, 0), np.minimum(x0 + epsilon, 1))

  checkpoints, interval = [0], int(0.22 * k)
  while checkpoints[-1] < k:
    checkpoints.append(checkpoints[-1] + interval)
    interval = max(interval - int(0.03 * k), int(0.06 * k))
  eta, values, best = np.float32(2 * epsilon), [f(start)], start
  eta_at, f_max_at = {}, {}
  before, x = start, start
  for step in range(k):
    if step in checkpoints[1:]:
      earlier = [w for w in checkpoints if w < step]
      last = earlier[-1]
      rises = sum(values[i + 1] > values[i] for i in range(last, step))
      stuck = len(earlier) > 1 and eta_at[last - 1] == eta and f_max_at[last] == max(values)
      if rises <= rho * (step - last) or stuck:
        eta, x = eta / 2, best
    eta_at[step], f_max_at[step] = eta, max(values)
    ahead = project(x + eta * direction(x))
    weight = np.float32(0.75 if step else 1)
    new = project(x + weight * (ahead - x) + (1 - weight) * (x - before))
    before, x = x, new
    values.append(f(x))
    if values[-1] == max(values):
      best = x
  return best, eta


@pytest.mark.parametrize("k, rho", [(100, 0.75), (50, 0.4)])
def test_it_is_algorithm_1_of_the_paper(k, rho):
  rng = np.random.default_rng(0)
  images = rng.random((6, 2, 2, 1)).astype(np.float32)
  epsilon = np.float32(0.4)
  best, step_sizes = run(valley, images, np.zeros(6, np.int32), loss=gain, k=k, epsilon=epsilon,
                         rho=rho)
  starts = linf.project(linf.random_point(tf.constant(images), epsilon, KEY),
                        linf.ball(images, epsilon)).numpy()
  expected = [by_hand(images[i:i + 1], starts[i:i + 1], k, epsilon, rho) for i in range(6)]
  np.testing.assert_allclose(best, np.concatenate([x for x, _ in expected]), atol=1e-4)
  np.testing.assert_allclose(step_sizes, [eta for _, eta in expected], rtol=1e-5)
  assert len(set(step_sizes)) > 1, "the examples should differ in their step sizes"


def test_the_first_success_is_kept_while_others_stand():
  images = np.random.default_rng(2).random((4, 2, 2, 1)).astype(np.float32)
  asked, rows = tf.Variable(0), tf.Variable(4)

  def wrong_at_the_fifth_question(images):
    wrong = (asked.assign_add(1) == 5) & (tf.range(4) < rows)
    # The label's logit falls below that of class 1, whose gain is left as it is.
    return valley(images) - tf.where(wrong, 1e3, 0.0)[:, tf.newaxis] * [1.0, 0.0, 0.0]

  all_at_once, _ = run(wrong_at_the_fifth_question, images, ZEROS, loss=gain, epsilon=0.4)
  assert asked.numpy() == 5, "it stops when nothing stands"
  asked.assign(0)
  rows.assign(2)
  two_of_four, _ = run(wrong_at_the_fifth_question, images, ZEROS, loss=gain, epsilon=0.4)
  assert asked.numpy() == 101
  np.testing.assert_array_equal(two_of_four[:2], all_at_once[:2])
  assert np.any(two_of_four[2:] != all_at_once[2:])


def test_apgd_beats_as_many_steps_of_pgd_in_the_valley():
  images, labels = np.random.default_rng(1).random((50, 2, 2,
                                                    1)).astype(np.float32), np.zeros(50, np.int32)
  by_apgd, by_pgd = (score(valley, attack(valley, images, labels), labels)[1].numpy()
                     for attack in (APGD(k=50), PGD(k=50)))
  assert np.mean(by_apgd) > np.mean(by_pgd)


def only_class_2(images):
  """Class 1 is the likeliest of the wrong ones and never wins; class 2 does within 0.2."""
  pixel = tf.reshape(images, [-1, 1])
  return tf.concat([0 * pixel, tf.minimum(5 * (pixel - 0.5), 0.05) - 0.1, 10 * (0.4 - pixel) - 0.5,
                    0 * pixel - 9], 1)


def test_apgd_t_tries_the_targets_in_turn():
  images, labels = np.full((5, 1, 1, 1), 0.5, np.float32), np.zeros(5, np.int32)
  for targets, wrong in ((1, 0), (2, 1), (9, 1)):
    for scout in (None, 5):
      attack = APGDT(k=20, epsilon=0.2, targets=targets, scout=scout)
      assert np.mean(~score(only_class_2, attack(only_class_2, images, labels), labels)[0]) == wrong


def test_an_answer_that_is_not_finite_is_no_success():
  asked = tf.Variable(0)

  def lost_at_the_fifth_question(images):
    # The label is the last class: of NaN, argmax says the first.
    return valley(images)[:, ::-1] + tf.where(asked.assign_add(1) == 5, float("nan"), 0.0)

  run(lost_at_the_fifth_question, GREY, ZEROS + 2, loss=gain)
  assert asked.numpy() == 101


@pytest.mark.parametrize("build, words", [
    (lambda: APGD(k=0), "k is 0"),
    (lambda: APGD(loss="hinge"), "loss is 'hinge', accepted: xent, cw, dlr"),
    (lambda: APGD(rho=0.0), "rho is 0.0"), (lambda: APGDT(targets=0), "targets is 0"),
    (lambda: APGDT(epsilon=2.0), "epsilon is 2.0")])
def test_bad_settings_are_named(build, words):
  with pytest.raises(UserError, match=words):
    build()


class Asked:
  """Two kinds of images: of bright ones class 1 gains with every pixel, of dark ones it never does.

  `images` counts those that the model was asked about.
  """

  def __init__(self, threshold):
    self.threshold, self.images = threshold, tf.Variable(0)

  def __call__(self, images):
    self.images.assign_add(tf.shape(images)[0])
    mean = tf.reduce_mean(images, [1, 2, 3])
    gain = tf.where(mean > 0.4, mean, 0.001 * mean)
    return tf.stack([0 * gain + self.threshold, gain, gain - 1, gain - 2], -1)


BOTH = np.concatenate([np.full((3, 2, 2, 1), 0.6), np.full((5, 2, 2, 1), 0.2)]).astype(np.float32)


@pytest.mark.parametrize("attack", [APGD, functools.partial(APGDT, targets=1)])
def test_hopeless_examples_leave_at_a_checkpoint_and_hopeful_ones_do_not(attack):
  model = Asked(0.79)
  found = attack(epsilon=0.2, patience=2.0)(model, BOTH, np.zeros(8, np.int32))
  assert np.argmax(model(found), -1).tolist() == [1] * 3 + [0] * 5
  patient = Asked(0.79)
  np.testing.assert_allclose(attack(epsilon=0.2)(patient, BOTH, np.zeros(8, np.int32)), found,
                             atol=1e-6)
  assert model.images.numpy() < 0.6 * patient.images.numpy()


def test_who_never_gives_up_has_the_repr_of_old():
  assert repr(APGD()) == "APGD(loss='xent', k=100, epsilon=0.3, rho=0.75)"
  assert repr(APGDT(patience=1.5)) == "APGDT(k=100, epsilon=0.3, rho=0.75, targets=9, patience=1.5)"
