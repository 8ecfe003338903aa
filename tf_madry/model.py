"""The paper's network (§6), which is the challenge's and the TensorFlow tutorial's."""

import os
import re

import keras
import numpy as np
import tensorflow as tf

from tf_madry.errors import UserError, require

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


# Our names of the challenge's variables, in the order in which its graph makes them.
CHALLENGE_ORDER = ("conv1/kernel", "conv1/bias", "conv2/kernel", "conv2/bias", "hidden/kernel", "hidden/bias",
                   "logits/kernel", "logits/bias")


def find_challenge_checkpoint(path):
  """The prefix of a TF1 checkpoint's files, or None when the path is of something else.

  Args:
    path: such a prefix, one of the files, or a directory with TensorFlow's `checkpoint` file in it.

  Raises:
    UserError: the directory's `checkpoint` file names none that is there.
  """
  if not os.path.isdir(path):
    prefix = re.sub(r"\.(index|meta|data-\d{5}-of-\d{5})$", "", path)
    return prefix if os.path.exists(f"{prefix}.index") else None
  listing = os.path.join(path, "checkpoint")
  if not os.path.isfile(listing):
    return None
  state = tf.train.get_checkpoint_state(path)
  newest = state and state.model_checkpoint_path
  require(newest and os.path.exists(f"{newest}.index"), f"newest checkpoint by {listing!r}", newest or "not named",
          "one that is there; --checkpoint takes the prefix of its files")
  return newest


def read_challenge_checkpoint(prefix):
  """Reads a checkpoint of the challenge's own TensorFlow 1 code: variables `Variable` to `Variable_7` and global_step.

  The network is that of `build`, with the same layout of every array.

  Args:
    prefix: of its files, such as models/secret/checkpoint-24900.

  Returns:
    ({path of a variable of `build()`: float32 array}, step).

  Raises:
    UserError: it cannot be read, or holds another network.
  """
  where = f"TF1 checkpoint {prefix!r}"
  ours = {variable.path: tuple(variable.shape) for variable in build().variables}
  try:
    reader = tf.train.load_checkpoint(prefix)
    shapes = reader.get_variable_to_shape_map()
    theirs = {f"Variable_{number}" if number else "Variable": path for number, path in enumerate(CHALLENGE_ORDER)}
    extra = sorted(name for name in shapes if re.fullmatch(r"Variable(_\d+)?", name) and name not in theirs)
    require(not extra, f"variables of {where}", ", ".join(extra), ", ".join(theirs))
    for name, path in theirs.items():
      require(name in shapes, f"{name} of {where}", "missing", f"an array of shape {ours[path]}")
      require(tuple(shapes[name]) == ours[path], f"shape of {name} in {where}", tuple(shapes[name]), f"{ours[path]}")
    weights = {path: np.asarray(reader.get_tensor(name), np.float32) for name, path in theirs.items()}
    step = int(reader.get_tensor("global_step")) if "global_step" in shapes else 0
  except (tf.errors.OpError, ValueError, RuntimeError, LookupError) as error:
    raise UserError(f"{where} cannot be read: {getattr(error, 'message', error)}") from error
  return weights, step
