"""What every attack does, and making them by name."""

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.attacking import IMAGES, LABELS, NET, QUICK, accuracy, random_net, small
from tf_madry import attacks
from tf_madry.attacks import FGSM, PGD, MultiTargeted, Restarts
from tf_madry.errors import UserError


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
  accuracies = [accuracy(NET, small(name, epsilon=epsilon))
                for epsilon in (0.0, 0.02, 0.04, 0.08, 0.3)]
  assert accuracies == sorted(accuracies, reverse=True)
  assert accuracies[0] == 1 and accuracies[-1] == 0


@pytest.mark.parametrize("name", ["pgd", "multitargeted", "apgd", "apgd_t", "square"])
def test_attacks_are_deterministic_in_their_seed(name):
  attack = small(name)
  first, again, other = (attack(NET, IMAGES, LABELS, seed=seed) for seed in (5, 5, 6))
  np.testing.assert_array_equal(first, again)
  assert np.any(first != other)


class Counted:
  """`NET` that counts the images it is asked about, with and without a gradient."""

  def __init__(self):
    self.gradients, self.forwards = tf.Variable(0), tf.Variable(0)

  def __call__(self, images):
    self.forwards.assign_add(1)

    @tf.custom_gradient
    def counted(images):
      def gradient(change):
        self.gradients.assign_add(1)
        return change
      return tf.identity(images), gradient
    return NET(counted(images))


@pytest.mark.parametrize("name", list(QUICK))
def test_the_cost_is_what_an_example_that_stands_takes(name):
  model, attack = Counted(), small(name, epsilon=1e-6)
  attack(model, IMAGES[:1], LABELS[:1])
  gradients, forwards = attack.cost(5)
  assert model.gradients.numpy() == gradients
  # Besides the attack's own: a look before and after each try, and those that choose a target or
  # count the classes.
  assert 0 <= model.forwards.numpy() - gradients - forwards <= 3 + 2 * 4


@pytest.mark.parametrize("name", list(QUICK))
def test_repr_says_everything(name):
  attack = small(name)
  assert eval(repr(attack), {type(attack).__name__: type(attack)}) == attack


@pytest.mark.parametrize("lose", [tf.round, lambda images: images + tf.sqrt(0 * images)])  # gradients of None and NaN
def test_a_model_without_gradient_leaves_the_random_start(lose):
  def model(images):
    return NET(lose(images))

  for attack in (PGD(k=3, epsilon=0.1), small("apgd"), small("apgd_t"), small("multitargeted")):
    assert np.all(np.isfinite(attack(model, IMAGES, LABELS)))
  np.testing.assert_array_equal(FGSM()(model, IMAGES, LABELS), IMAGES)


@pytest.mark.parametrize("build, words", [
    (lambda: PGD(k=0), "k is 0"), (lambda: PGD(epsilon=1.5), "epsilon is 1.5"),
    (lambda: PGD(alpha=0.0), "alpha is 0.0"),
    (lambda: PGD(loss="hinge"), "accepted: xent, cw, dlr"),
    (lambda: FGSM(epsilon=-1.0), "epsilon is -1.0"),
    (lambda: Restarts(attack=PGD(), restarts=0), "restarts is 0"),
    (lambda: attacks.make("fgsm", {}, {}, restarts=2),
     r"restarts is 2, accepted: 1 for FGSM\(.*\), which does the same"),
    (lambda: attacks.make("pgd", {}, {"random_start": False}, restarts=3),
     "restarts is 3, accepted: 1 for PGD"),
    (lambda: MultiTargeted(k=0), "k is 0"), (lambda: MultiTargeted(targets=0), "targets is 0"),
    (lambda: MultiTargeted(scout=0), "scout is 0"),
    (lambda: attacks.APGD(patience=0.0), "patience is 0.0"),
    (lambda: attacks.Square(patience=-1.0), "patience is -1.0"),
    (lambda: attacks.make("bim", {}, {}), "attack is 'bim', accepted: fgsm, pgd"),
    (lambda: attacks.make("square", {"k": 3}, {}),
     "setting of attack square is 'k', accepted: queries"),
])
def test_bad_settings_are_named(build, words):
  with pytest.raises(UserError, match=words):
    build()


@pytest.mark.parametrize("attack, classes", [(PGD(loss="dlr"), 2), (attacks.APGD(loss="dlr"), 2),
                                             (attacks.APGDT(), 3)])
def test_too_few_classes_are_one_line(attack, classes):
  with pytest.raises(UserError, match=rf"^number of classes under loss \w+ is {classes}, accepted: at least \d$"):
    attack(random_net(classes=classes), IMAGES, np.zeros(64, np.int32))


@pytest.mark.parametrize("images, labels, words", [
    (IMAGES * 255, LABELS, "range of pixels"),
    (IMAGES, LABELS[:5], r"shape of labels is \(5,\), accepted: \(64,\)")])
def test_bad_input_is_named(images, labels, words):
  with pytest.raises(UserError, match=words):
    PGD()(NET, images, labels)


def test_what_is_not_given_comes_from_training_only_where_it_means_the_same():
  training = {"k": 8, "epsilon": 0.2, "alpha": 0.1, "random_start": True, "loss": "cw"}
  assert attacks.make("pgd", {"k": 40}, training) == PGD(k=40, epsilon=0.2, alpha=0.1, loss="cw")
  assert attacks.make("fgsm", {}, training) == FGSM(epsilon=0.2, loss="cw")
  assert attacks.make("apgd", {"loss": "dlr"}, training) == attacks.APGD(epsilon=0.2, loss="dlr")
  assert attacks.make("pgd", {}, training,
                      restarts=3) == Restarts(attack=attacks.make("pgd", {}, training), restarts=3)
