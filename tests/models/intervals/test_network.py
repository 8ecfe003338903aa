"""Interval bounds: nothing that a network gives lies outside, and what can be proven is."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.errors import error_of
from tf_madry.models import intervals, network, thresholds

LAYERS = keras.layers


def labels_of(model, images):
  return tf.argmax(model(images), -1, tf.int32)


def bounds(model, images, epsilon, labels, sound=True):
  box = intervals.around(images, epsilon)
  seen = intervals.hidden(model, box, sound=sound)
  return intervals.margins(*seen, labels, sound=sound).numpy()


def margins_of(logits, labels):
  return (tf.gather(logits, labels, batch_dims=1)[:, tf.newaxis] - logits).numpy()


def widened(shape, epsilon, classes=4):
  """The paper's network made of one that begins with thresholds, with other weights behind them."""
  narrow = network.build(shape, classes, initialization="interval", epsilon=epsilon)
  for number, weight in enumerate(narrow.weights[2:]):
    weight.assign_add(tf.random.stateless_normal(weight.shape, (number, 0), 0.0, 0.05))
  wide = network.build(shape, classes)
  wide.set_weights(thresholds.widen(narrow.weights, [weight.shape for weight in wide.weights]))
  return narrow, wide


def usual():
  keras.utils.set_random_seed(1)
  return keras.Sequential([
      keras.Input((9, 8, 2)), LAYERS.Conv2D(4, 3, strides=2, padding="same", use_bias=False),
      LAYERS.ReLU(), LAYERS.Conv2D(6, 2, activation="relu"), LAYERS.MaxPooling2D(2),
      LAYERS.Dropout(0.5), LAYERS.Flatten(), LAYERS.Dense(7), LAYERS.Activation("relu"),
      LAYERS.Dense(3)])


@pytest.mark.parametrize("model", [usual(), network.build((9, 8, 2), 3), widened((9, 8, 2), 0.1)[1]],
                         ids=["usual", "paper", "thresholds"])
def test_no_image_of_the_ball_leaves_the_bounds(model):
  random = np.random.default_rng(0)
  images, epsilon = random.random((6, 9, 8, 2), np.float32), 0.1
  labels = labels_of(model, images)
  lower = bounds(model, images, epsilon, labels)
  box = intervals.around(images, epsilon)
  for number in range(30):  # corners, and points inside
    share = random.random(images.shape) if number % 2 else random.integers(0, 2, images.shape)
    point = np.clip(box.lower + share * (box.upper - box.lower), box.lower, box.upper)
    found = margins_of(model(point.astype(np.float32)), labels)
    assert (found >= lower).all()
  assert (lower[np.arange(6), labels] == 0).all()


@pytest.mark.parametrize("model", [usual(), widened((9, 8, 2), 0.1)[1]], ids=["usual", "thresholds"])
def test_bounds_of_a_point_are_what_the_network_gives_and_lie_below_it(model):
  images = np.random.default_rng(1).random((6, 9, 8, 2), np.float32)
  labels = labels_of(model, images)
  lower, found = bounds(model, images, 0.0, labels), margins_of(model(images), labels)
  np.testing.assert_allclose(bounds(model, images, 0.0, labels, sound=False), found, atol=1e-4)
  others = np.arange(found.shape[1]) != np.asarray(labels)[:, np.newaxis]
  assert (lower < found)[others].all()  # by what rounding can do


def test_sound_bounds_hold_in_float64_where_the_others_are_wrong_by_rounding():
  model = keras.Sequential([keras.Input((1, 1, 1)), LAYERS.Flatten(), LAYERS.Dense(2)])
  random = np.random.default_rng(2)
  broken = 0
  for _ in range(200):
    kernel, bias = random.normal(size=(1, 2)).astype(np.float32), random.normal(size=2)
    model.set_weights([kernel, bias.astype(np.float32)])
    image = random.random((1, 1, 1, 1), np.float32)
    box = intervals.around(image, 0.0)
    exact = image.astype(np.float64)[0, 0, 0] @ kernel.astype(np.float64) + bias.astype(np.float32)
    for sound in (True, False):
      margins = intervals.margins(*intervals.hidden(model, box, sound=sound), tf.constant([0]),
                                  sound=sound)
      above = float(margins[0, 1]) > exact[0] - exact[1]
      assert not (sound and above)
      broken += above
  assert broken > 20


def test_a_pair_is_bounded_as_the_one_function_that_it_is():
  narrow, wide = widened((8, 8, 1), 0.3)
  assert len(thresholds.pairs(wide.layers[1], wide.layers[2])) == thresholds.FILTERS // 2
  white = np.float32(np.random.default_rng(3).integers(0, 2, (5, 8, 8, 1)))
  labels = labels_of(wide, white)
  # An attack moves no threshold of black and white: all that is left is rounding.
  lower, found = bounds(wide, white, 0.3, labels), margins_of(wide(white), labels)
  for model in (wide, narrow):
    np.testing.assert_allclose(bounds(model, white, 0.3, labels, sound=False), found, atol=1e-3)
  assert (lower <= found).all()
  wide.layers[2].kernel.assign(wide.layers[2].kernel * np.float32(1.001) ** np.arange(64))
  assert thresholds.pairs(wide.layers[1], wide.layers[2])  # still opposites
  kernel = wide.layers[1].kernel.numpy()
  kernel[..., 0] *= np.float32(1.01)
  wide.layers[1].kernel.assign(kernel)  # a pair that is none any more
  assert len(thresholds.pairs(wide.layers[1], wide.layers[2])) == thresholds.FILTERS // 2 - 1
  assert bounds(wide, white, 0.3, labels).min() < lower.min()


def test_bounds_have_gradients():
  narrow, _ = widened((8, 8, 1), 0.3)
  images, labels = tf.random.stateless_uniform((4, 8, 8, 1), (0, 1)), tf.constant([0, 1, 1, 1])
  with tf.GradientTape() as tape:
    box = intervals.around(images, 0.2)
    margins = intervals.margins(*intervals.hidden(narrow, box, sound=False), labels, sound=False)
  gradients = tape.gradient(margins, [weight.value for weight in narrow.weights[2:]])
  assert all(float(tf.reduce_max(tf.abs(gradient))) > 0 for gradient in gradients)


def branched():
  """Two ways that meet, one of them through a network in the network, and a layer used twice."""
  keras.utils.set_random_seed(2)
  images = keras.Input((9, 8, 2))
  inner = keras.Sequential([keras.Input((9, 8, 4)), LAYERS.MaxPooling2D(2), LAYERS.Flatten()])
  x = LAYERS.Conv2D(4, 3, padding="same")(images)
  y = LAYERS.Add()([x, LAYERS.Conv2D(4, 1, activation="relu")(x)])
  both = LAYERS.Concatenate()([inner(y), LAYERS.GlobalAveragePooling2D()(x)])
  shared = LAYERS.Dense(68, activation="relu")
  return keras.Model(images, LAYERS.Dense(3)(shared(shared(both))))


def test_branches_and_networks_inside_of_networks_are_followed():
  model, random = branched(), np.random.default_rng(4)
  images = random.random((6, 9, 8, 2), np.float32)
  labels = labels_of(model, images)
  np.testing.assert_allclose(bounds(model, images, 0.0, labels, sound=False),
                             margins_of(model(images), labels), atol=1e-5)
  lower = bounds(model, images, 0.02, labels)
  box = intervals.around(images, 0.02)
  for _ in range(20):
    point = np.where(random.random(images.shape) < 0.5, box.lower, box.upper)
    assert (margins_of(model(point), labels) >= lower).all()


def test_without_a_dense_layer_at_the_end_margins_are_differences_of_logits():
  model = keras.Sequential([keras.Input((4, 4, 1)), LAYERS.Conv2D(3, 2),
                            LAYERS.GlobalAveragePooling2D()])
  images = np.random.default_rng(5).random((6, 4, 4, 1), np.float32)
  labels = labels_of(model, images)
  last, box = intervals.hidden(model, intervals.around(images, 0.1), sound=True)
  lower = intervals.margins(last, box, labels, sound=True).numpy()
  assert last is None and (lower[np.arange(6), labels] == 0).all()
  expected = np.take_along_axis(box.lower.numpy(), labels.numpy()[:, np.newaxis], 1) - box.upper
  others = np.arange(3) != labels.numpy()[:, np.newaxis]
  np.testing.assert_array_equal(lower[others], expected.numpy()[others])


def test_what_has_no_bounds_is_named():
  images = keras.Input((4, 4, 1))
  cases = {
      "'wavy' is a GaussianNoise, of which no bounds are known": keras.Sequential(
          [images, LAYERS.GaussianNoise(0.1, name="wavy"), LAYERS.Flatten(), LAYERS.Dense(2)]),
      "activation of 'bent' is 'gelu', accepted: linear, relu": keras.Sequential(
          [images, LAYERS.Flatten(), LAYERS.Dense(3, activation="gelu", name="bent"),
           LAYERS.Dense(2)]),
      "activation of 'last' is 'softmax'": keras.Sequential(
          [images, LAYERS.Flatten(), LAYERS.Dense(2, activation="softmax", name="last")]),
      "'half' is 'one that computes in float16', accepted: float32": keras.Sequential(
          [images, LAYERS.Flatten(), LAYERS.Dense(2, dtype="float16", name="half")]),
      "is a Sum, of which no bounds are known": keras.Model(
          images, LAYERS.Dense(2)(keras.ops.sum(images, (1, 2))))}
  for said, model in cases.items():
    assert said in error_of(lambda model=model: intervals.hidden(
        model, intervals.around(tf.zeros((1, 4, 4, 1)), 0.1), sound=True))
