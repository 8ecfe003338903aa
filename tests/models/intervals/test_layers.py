"""What layers of each kind make of a box."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.errors import error_of
from tf_madry.models import intervals

LAYERS = keras.layers
SHAPE = (6, 8, 4)


def normalisation():
  layer = LAYERS.BatchNormalization(name="normalised")
  layer.build((None, *SHAPE))
  random = np.random.default_rng(7)
  layer.set_weights([random.normal(size=4), random.normal(size=4), random.normal(size=4),
                     random.random(4)])
  return layer


KINDS = {
  "strided": LAYERS.Conv2D(5, 3, strides=2, activation="tanh"),
  "dilated": LAYERS.Conv2D(5, 3, dilation_rate=2, activation="elu"),
  "depthwise": LAYERS.DepthwiseConv2D(3, padding="same", activation="sigmoid", bias_initializer="ones"),
  "dense": LAYERS.Dense(5, activation=LAYERS.LeakyReLU(0.3)),
  "normalised": normalisation(), "rescaled": LAYERS.Rescaling([-2.0, 0.5, 3.0, 0.0], offset=-0.5),
  "relu": LAYERS.ReLU(max_value=0.6, negative_slope=0.1, threshold=0.2),
  "leaky": LAYERS.LeakyReLU(0.2), "elu": LAYERS.ELU(0.5), "softplus": LAYERS.Activation("softplus"),
  "average": LAYERS.AveragePooling2D(3, strides=2, padding="same"),
  "maximum": LAYERS.MaxPooling2D(3, strides=1), "all": LAYERS.GlobalAveragePooling2D(),
  "most": LAYERS.GlobalMaxPooling2D(), "padded": LAYERS.ZeroPadding2D((1, 2)),
  "cropped": LAYERS.Cropping2D(1), "permuted": LAYERS.Permute((3, 1, 2)),
  "reshaped": LAYERS.Reshape((24, 8)), "dropped": LAYERS.SpatialDropout2D(0.5)}


@pytest.mark.parametrize("name", KINDS)
def test_no_point_of_a_box_leaves_the_box_of_its_layer(name):
  model = keras.Sequential([keras.Input(SHAPE), KINDS[name], LAYERS.Activation("relu6")])
  random = np.random.default_rng(0)
  images = random.random((3, *SHAPE), np.float32)
  box = intervals.around(images, 0.1)
  found = [end.numpy() for end in intervals.hidden(model, box, sound=True)[1]]
  touched = False
  for number in range(40):
    share = random.random(images.shape) if number % 2 else random.integers(0, 2, images.shape)
    share = (0.0, 1.0)[number] if number < 2 else share
    point = np.clip(box.lower + share * (box.upper - box.lower), box.lower, box.upper)
    seen = model(point.astype(np.float32)).numpy()
    assert (found[0] <= seen).all() and (seen <= found[1]).all()
    touched |= (seen - found[0] < 0.1 * (found[1] - found[0]) + 1e-6).any()
  assert touched  # and the box is no wider than it need be
  _, point = intervals.hidden(model, intervals.around(images, 0.0), sound=False)
  np.testing.assert_allclose(point.lower, model(images), atol=1e-5)
  np.testing.assert_array_equal(point.lower, point.upper)


def normalise64(layer, images):
  gamma, beta, mean, variance = (weight.astype(np.float64) for weight in layer.get_weights())
  return (images - mean) / np.sqrt(variance + layer.epsilon) * gamma + beta


EXACT = {
  "normalised": (normalisation, normalise64),
  "rescaled": (lambda: LAYERS.Rescaling(1 / 3, offset=-0.1),
               lambda layer, images: images * np.float64(np.float32(1 / 3)) - np.float64(np.float32(0.1))),
  "average": (lambda: LAYERS.GlobalAveragePooling2D(), lambda layer, images: images.mean((1, 2))),
  "tanh": (lambda: LAYERS.Activation("tanh"), lambda layer, images: np.tanh(images)),
  "sigmoid": (lambda: LAYERS.Activation("sigmoid"), lambda layer, images: 1 / (1 + np.exp(-images)))}


@pytest.mark.parametrize("name", EXACT)
def test_sound_boxes_hold_in_float64_where_the_others_are_wrong_by_rounding(name):
  make, exact = EXACT[name]
  layer = make()
  model = keras.Sequential([keras.Input(SHAPE), layer])
  images = np.random.default_rng(1).random((50, *SHAPE), np.float32)
  truth = exact(layer, images.astype(np.float64))

  def inside(sound):
    _, box = intervals.hidden(model, intervals.around(images, 0.0), sound=sound)
    return (box.lower.numpy() <= truth) & (truth <= box.upper.numpy())

  assert inside(True).all() and not inside(False).all()


def test_an_elu_that_falls_somewhere_has_no_bounds():
  model = keras.Sequential([keras.Input(SHAPE), LAYERS.ELU(-1.0, name="falls")])
  box = intervals.around(tf.zeros((1, *SHAPE)), 0.1)
  assert "layer 'falls' is 'an ELU that falls somewhere'" in error_of(
    lambda: intervals.hidden(model, box, sound=True))
