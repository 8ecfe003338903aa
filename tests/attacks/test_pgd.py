import functools

import numpy as np
import pytest
import tensorflow as tf

from tf_madry import attacks, datasets
from tf_madry.attacks import FGSM, PGD, MultiTargeted, Restarts, losses, pgd
from tf_madry.attacks.losses import score
from tf_madry.attacks.restarts import in_turn
from tf_madry.attacks.targeted import Targeted, likely_targets
from tf_madry.errors import UserError
from tf_madry.evaluation.accuracy import evaluate
from tf_madry.runtime import seeds

W1 = np.array([[1.5, 0.3], [-2, 0.3]], np.float32)
W2 = np.array([[-2.4, 1.2], [0.5, -2.3]], np.float32)


def toy(images):
  """The fixed 2-2-2 net, its inputs in [-1, 1] taken from pixels in [0, 1]."""
  return tf.sigmoid((2 * tf.reshape(images, [-1, 2]) - 1) @ W1) @ W2


def toy_images(points):
  return (np.array(points, np.float32).reshape(-1, 1, 2, 1) + 1) / 2


def random_net(seed=0, classes=5, pixels=36, hidden=24):
  """A ReLU net with one hidden layer, for images of 36 pixels."""
  rng = np.random.default_rng(seed)
  first = rng.normal(size=(pixels, hidden)).astype(np.float32)
  second = rng.normal(size=(hidden, classes)).astype(np.float32)
  return lambda images: tf.nn.relu((tf.reshape(images, [-1, pixels]) - 0.5) @ first) @ second


NET = random_net()
IMAGES = np.random.default_rng(1).random((64, 6, 6, 1)).astype(np.float32)
LABELS = np.argmax(NET(IMAGES), -1).astype(np.int32)


def accuracy(model, attack, images=IMAGES, labels=LABELS):
  return float(np.mean(np.argmax(model(attack(model, images, labels, seed=3)), -1) == labels))


QUICK = {"fgsm": {}, "pgd": {"k": 10}, "multitargeted": {"k": 10}, "apgd": {"k": 20}, "apgd_t": {"k": 20},
         "square": {"queries": 150}}


def small(name, **settings):
  """An attack of that name that is quick on NET, at an ε that leaves some examples standing."""
  return attacks.ATTACKS[name](**QUICK[name] | {"epsilon": 0.04} | settings)


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
  adversarial = PGD(k=10, alpha=0.01, epsilon=0.5, random_start=False)(toy, images, np.array([0, 1], np.int32))
  np.testing.assert_allclose(np.abs(adversarial - images).max(), 0.1, atol=1e-6)


@pytest.mark.parametrize("loss", ["xent", "cw", "dlr"])
def test_one_full_step_without_random_start_is_fgsm(loss):
  np.testing.assert_array_equal(PGD(k=1, alpha=0.1, epsilon=0.1, random_start=False, loss=loss)(NET, IMAGES, LABELS),
                                FGSM(epsilon=0.1, loss=loss)(NET, IMAGES, LABELS))


def test_fgsm_is_the_sign_of_finite_differences():
  images, labels = toy_images([(0.1, -0.4), (-0.5, 0.3), (0.6, 0.5)]), np.array([0, 1, 1], np.int32)
  expected = images.copy()
  for pixel in range(2):
    step = np.zeros((1, 1, 2, 1), np.float32)
    step[0, 0, pixel] = 1e-2
    slope = losses.xent(toy(images + step), labels) - losses.xent(toy(images - step), labels)
    expected[:, 0, pixel, 0] += 0.2 * np.sign(slope)
  np.testing.assert_allclose(FGSM(epsilon=0.2)(toy, images, labels), np.clip(expected, 0, 1), atol=1e-6)


@pytest.mark.parametrize("name", list(QUICK))
def test_images_stay_in_the_ball_and_in_range(name):
  images = np.round(IMAGES)  # half the pixels at 0, half at 1
  adversarial = small(name, epsilon=0.25)(NET, images, LABELS, seed=2)
  assert adversarial.shape == images.shape and adversarial.dtype == tf.float32
  assert np.min(adversarial) >= 0 and np.max(adversarial) <= 1
  assert np.abs(adversarial - images).max() <= 0.25 + 1e-6


@pytest.mark.parametrize("name", list(QUICK))
def test_epsilon_zero_returns_the_input(name):
  np.testing.assert_array_equal(small(name, epsilon=0.0)(NET, IMAGES, LABELS), IMAGES)


@pytest.mark.parametrize("name", list(QUICK))
def test_accuracy_never_rises_with_epsilon(name):
  accuracies = [accuracy(NET, small(name, epsilon=epsilon)) for epsilon in (0.0, 0.02, 0.04, 0.08, 0.3)]
  assert accuracies == sorted(accuracies, reverse=True)
  assert accuracies[0] == 1 and accuracies[-1] == 0


@pytest.mark.parametrize("name", ["pgd", "multitargeted", "apgd", "apgd_t", "square"])
def test_attacks_are_deterministic_in_their_seed(name):
  attack = small(name)
  first, again, other = (attack(NET, IMAGES, LABELS, seed=seed) for seed in (5, 5, 6))
  np.testing.assert_array_equal(first, again)
  assert np.any(first != other)


@pytest.mark.parametrize("name", list(QUICK))
def test_repr_says_everything(name):
  attack = small(name)
  assert eval(repr(attack), {type(attack).__name__: type(attack)}) == attack


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


def bowl(images):
  """One pixel; wrong about class 0 only further than 0.2 from the middle, and flat within 0.1 of it."""
  away = tf.abs(tf.reshape(images, [-1, 1]) - 0.5)
  return tf.concat([0.1 * tf.ones_like(away), tf.nn.relu(away - 0.1)], 1)


def test_success_falls_without_a_random_start_and_rises_with_restarts():
  images, labels = np.full((300, 1, 1, 1), 0.5, np.float32), np.zeros(300, np.int32)
  attack = PGD(k=10, epsilon=0.3)
  assert accuracy(bowl, PGD(k=10, epsilon=0.3, random_start=False), images, labels) == 1
  once = accuracy(bowl, attack, images, labels)
  # A third of the random starts lie on the flat part; the bounds are 4 standard deviations of 300 draws away.
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
  results = [evaluate(NET, attacks.make(name, {"k": 3, "epsilon": epsilon}, {}, restarts=restarts, target=NET), split,
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
  kept = restarts(lambda x: tf.concat([0 * x[:, 0, 0], x[:, 0, 0] - 0.8], 1), np.full((2, 1, 1, 1), 0.1, np.float32),
                  np.zeros(2, np.int32))
  np.testing.assert_allclose(np.ravel(kept), 0.7)


def test_what_is_wrong_as_it_is_keeps_the_first_try_if_that_is_worse():
  tries = [0.95, 0.85, 0.1, 0.99]  # worse; wrong, but less so; right; right to begin with
  images, labels = np.array([0.9, 0.9, 0.9, 0.1], np.float32).reshape(-1, 1, 1, 1), np.zeros(4, np.int32)
  found = in_turn(lambda x: tf.concat([0 * x[:, 0, 0], x[:, 0, 0] - 0.8], 1), images, labels,
                  [lambda images, labels: tf.reshape(tf.constant(tries), images.shape)] * 2)
  np.testing.assert_allclose(np.ravel(found), [0.95, 0.9, 0.9, 0.99])


def test_targeted_attacks_reach_their_target():
  for target in range(5):
    rows = target != LABELS
    targets = np.full(rows.sum(), target, np.int32)
    adversarial = Targeted(k=20, epsilon=0.5)(NET, IMAGES[rows], targets, seed=0)
    assert np.mean(np.argmax(NET(adversarial), -1) == target) > 0.9


def test_likely_targets_are_the_wrong_classes_by_logit():
  model = lambda images: tf.repeat([[3.0, 1.0, 2.0, -1.0]], len(images), 0)  # noqa: E731
  labels = np.array([0, 2, 3], np.int32)
  ranks = [likely_targets(model, IMAGES[:3], labels, tf.constant(rank)).numpy().tolist() for rank in range(3)]
  assert np.transpose(ranks).tolist() == [[2, 1, 3], [0, 1, 3], [0, 2, 1]]


def test_multitargeted_finds_the_one_class_that_gives_way():
  def model(images):
    """Class 1 comes near at once and never nearer; class 2 starts far off and overtakes it."""
    pixel = tf.reshape(images, [-1, 1])
    return tf.concat([0 * pixel, -0.1 - 0 * pixel + tf.minimum(5 * (pixel - 0.5), 0.05), 10 * (0.48 - pixel) - 1], 1)

  images, labels = np.full((20, 1, 1, 1), 0.5, np.float32), np.zeros(20, np.int32)
  assert accuracy(model, FGSM(epsilon=0.2), images, labels) == 1
  assert accuracy(model, MultiTargeted(k=10, epsilon=0.2), images, labels) == 0


@pytest.mark.parametrize("lose", [tf.round, lambda images: images + tf.sqrt(0 * images)])  # gradients of None and NaN
def test_a_model_without_gradient_leaves_the_random_start(lose):
  def model(images):
    return NET(lose(images))

  for attack in (PGD(k=3, epsilon=0.1), small("apgd"), small("apgd_t"), small("multitargeted")):
    assert np.all(np.isfinite(attack(model, IMAGES, LABELS)))
  np.testing.assert_array_equal(FGSM()(model, IMAGES, LABELS), IMAGES)


def test_cw_is_the_challenges_with_its_flat_part():
  logits = tf.constant([[3.0, 1.0, 2.0], [0.0, 40.0, 1.0], [0.0, 51.0, 1.0], [1e5, 0.0, 2e5]])
  labels = tf.constant([0, 0, 0, 0])
  with tf.GradientTape() as tape:
    tape.watch(logits)
    loss = losses.cw(logits, labels)
  np.testing.assert_array_equal(loss, [-51, -10, 0, 0])
  np.testing.assert_array_equal(tape.gradient(loss, logits), [[-1, 0, 1], [-1, 1, 0], [0, 0, 0], [0, 0, 0]])


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


@pytest.mark.parametrize("build, words", [
    (lambda: PGD(k=0), "k is 0"), (lambda: PGD(epsilon=1.5), "epsilon is 1.5"), (lambda: PGD(alpha=0.0), "alpha is 0.0"),
    (lambda: PGD(loss="hinge"), "accepted: xent, cw, dlr"), (lambda: FGSM(epsilon=-1.0), "epsilon is -1.0"),
    (lambda: Restarts(attack=PGD(), restarts=0), "restarts is 0"),
    (lambda: attacks.make("fgsm", {}, {}, restarts=2), r"restarts is 2, accepted: 1 for FGSM\(.*\), which does the same"),
    (lambda: attacks.make("pgd", {}, {"random_start": False}, restarts=3), "restarts is 3, accepted: 1 for PGD"),
    (lambda: MultiTargeted(k=0), "k is 0"),
    (lambda: attacks.make("bim", {}, {}), "attack is 'bim', accepted: fgsm, pgd"),
    (lambda: attacks.make("square", {"k": 3}, {}), "setting of attack square is 'k', accepted: queries"),
])
def test_bad_settings_are_named(build, words):
  with pytest.raises(UserError, match=words):
    build()


@pytest.mark.parametrize("attack, classes", [(PGD(loss="dlr"), 2), (attacks.APGD(loss="dlr"), 2), (attacks.APGDT(), 3)])
def test_too_few_classes_are_one_line(attack, classes):
  with pytest.raises(UserError, match=rf"^number of classes under loss \w+ is {classes}, accepted: at least \d$"):
    attack(random_net(classes=classes), IMAGES, np.zeros(64, np.int32))


@pytest.mark.parametrize("images, labels, words", [
    (IMAGES * 255, LABELS, "range of pixels"), (IMAGES, LABELS[:5], r"shape of labels is \(5,\), accepted: \(64,\)")])
def test_bad_input_is_named(images, labels, words):
  with pytest.raises(UserError, match=words):
    PGD()(NET, images, labels)


def test_what_is_not_given_comes_from_training_only_where_it_means_the_same():
  training = {"k": 8, "epsilon": 0.2, "alpha": 0.1, "random_start": True, "loss": "cw"}
  assert attacks.make("pgd", {"k": 40}, training) == PGD(k=40, epsilon=0.2, alpha=0.1, loss="cw")
  assert attacks.make("fgsm", {}, training) == FGSM(epsilon=0.2, loss="cw")
  assert attacks.make("apgd", {"loss": "dlr"}, training) == attacks.APGD(epsilon=0.2, loss="dlr")
  assert attacks.make("pgd", {}, training, restarts=3) == Restarts(attack=attacks.make("pgd", {}, training), restarts=3)


def test_training_can_call_maximise_within_its_own_graph():
  attack = PGD(k=5, epsilon=0.1)
  how = {"loss": losses.xent, "k": tf.constant(attack.k), "epsilon": tf.constant(attack.epsilon),
         "alpha": tf.constant(attack.step_size)}
  step = tf.function(lambda images, labels: pgd.maximise(NET, images, labels, seeds.key(7, 0, "random start"), **how))
  np.testing.assert_array_equal(step(IMAGES, LABELS), attack(NET, IMAGES, LABELS, seed=7))
