"""The paper's network (§6), which is the challenge's and the TensorFlow tutorial's."""

import keras

from tf_madry.errors import require

SMALLEST_IMAGE = 4  # pixels a side that two 2×2 poolings need to leave something


def build(image_shape=(28, 28, 1), num_classes=10, *, seed=0):
  """Builds the network with fresh weights.

  Two 5×5 convolutions of 32 and 64 filters, each with 2×2 max-pooling, 1024 hidden units and one logit a class: on MNIST
  3,274,634 parameters. Weights start truncated normal with deviation 0.1, biases at 0.1, as in the challenge.

  Pooling comes before ReLU. The two commute, since ReLU is monotone, and in this order three quarters of the ReLU's
  work, forward and backward, are never done.

  Args:
    image_shape: (height, width, channels).
    num_classes: number of logits.
    seed: of the initial weights.

  Returns:
    A Keras model from float32 [batch, height, width, channels] to float32 logits [batch, num_classes].
  """
  height, width, _ = image_shape
  require(min(height, width) >= SMALLEST_IMAGE, "image size", f"{height}x{width}",
          f"at least {SMALLEST_IMAGE}x{SMALLEST_IMAGE} pixels")

  def initial(layer):
    return {"kernel_initializer": keras.initializers.TruncatedNormal(stddev=0.1, seed=_layer_seed(seed, layer)),
            "bias_initializer": keras.initializers.Constant(0.1)}

  layers = keras.layers
  images = x = keras.Input(image_shape, name="images")
  for layer, filters in enumerate((32, 64)):
    x = layers.Conv2D(filters, 5, padding="same", name=f"conv{layer + 1}", **initial(layer))(x)
    x = layers.MaxPool2D(2, padding="same")(x)
    x = layers.ReLU()(x)
  x = layers.Flatten()(x)
  x = layers.Dense(1024, activation="relu", name="hidden", **initial(2))(x)
  logits = layers.Dense(num_classes, name="logits", **initial(3))(x)
  return keras.Model(images, logits, name="challenge_cnn")


def _layer_seed(seed, layer):
  # Keras would give layers of equal shape equal weights if they shared a seed; 8 leaves room between runs' seeds.
  return seed * 8 + layer
