"""The paper's network (§6), which is the challenge's and the TensorFlow tutorial's."""

import keras

from tf_madry.errors import require
from tf_madry.models import thresholds
from tf_madry.models.layers import PairDifferences, PooledConvolution
from tf_madry.models.plain import Network

HIDDEN = 1024  # units
SMALLEST_IMAGE = 4  # pixels a side that two 2×2 poolings need to leave something


def build(image_shape: tuple[int, int, int] = (28, 28, 1), num_classes: int = 10, *, seed: int = 0,
          initialization: str = "challenge", epsilon: float = 0.3,
          dtype: str = "float32") -> keras.Model:
  """Builds the network with fresh weights.

  Two 5×5 convolutions of 32 and 64 filters, each with 2×2 max-pooling, 1024 hidden units and one
  logit a class: on MNIST 3,274,634 parameters.

  Args:
    image_shape: (height, width, channels).
    num_classes: number of logits.
    seed: of the initial weights.
    initialization: "challenge": weights truncated normal with deviation 0.1, biases 0.1; "he":
      weights truncated normal with variance 2 / inputs (He et al. 2015), biases 0; "threshold": as
      "he", but that the first layer has 16 filters, in pairs that see little of what an attacker
      can change, and the second sees their differences, see `thresholds.py`; "interval": as
      "threshold", with half the deviation, so that interval bounds do not begin out of all reach,
      and half the hidden units: trained on bounds, all of them make no better network.
    epsilon: radius of the ball that the thresholds are for.
    dtype: of the weights and of what is computed, but for the logits layer, which is always
      float32.

  Returns:
    A Keras model from float32 [batch, height, width, channels] to float32 logits [batch,
    num_classes].
  """
  height, width, _ = image_shape
  require(min(height, width) >= SMALLEST_IMAGE, "image size", f"{height}x{width}",
          f"at least {SMALLEST_IMAGE}x{SMALLEST_IMAGE} pixels")

  def initial(layer):
    initializers, own_seed = keras.initializers, _layer_seed(seed, layer)
    if initialization == "challenge":
      return {"kernel_initializer": initializers.TruncatedNormal(0, 0.1, own_seed),
              "bias_initializer": initializers.Constant(0.1)}
    variance = 0.5 if initialization == "interval" else 2.0
    kernel = initializers.VarianceScaling(variance, "fan_in", "truncated_normal", own_seed)
    return {"kernel_initializer": kernel, "bias_initializer": "zeros"}

  images = keras.Input(image_shape, name="images", dtype="float32")
  paired = initialization in thresholds.INITIALIZATIONS
  first = PooledConvolution(thresholds.FILTERS if paired else 32, name="conv1", dtype=dtype,
                            **initial(0))
  x = first(images)
  if paired:
    thresholds.initialize(first, epsilon)
    x = PairDifferences(name="differences", dtype=dtype)(x)
  x = PooledConvolution(64, name="conv2", dtype=dtype, **initial(1))(x)
  x = keras.layers.Flatten(data_format="channels_last", dtype=dtype)(x)
  units = HIDDEN // 2 if initialization == "interval" else HIDDEN
  x = keras.layers.Dense(units, activation="relu", name="hidden", dtype=dtype, **initial(2))(x)
  logits = keras.layers.Dense(num_classes, name="logits", dtype="float32", **initial(3))(x)
  return (keras.Model if paired else Network)(images, logits, name="challenge_cnn")


def _layer_seed(seed, layer):
  # Keras would give layers of equal shape equal weights if they shared a seed; 8 leaves room
  # between runs' seeds.
  return seed * 8 + layer
