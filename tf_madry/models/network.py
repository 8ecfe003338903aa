"""The paper's network (§6), which is the challenge's and the TensorFlow tutorial's."""

import os
import re

import keras
import numpy as np
import tensorflow as tf

from tf_madry.errors import UserError, require
from tf_madry.models import thresholds

SMALLEST_IMAGE = 4  # pixels a side that two 2×2 poolings need to leave something
FEW_CHANNELS = 4  # of an image, see `PooledConvolution`


def build(image_shape=(28, 28, 1), num_classes=10, *, seed=0, initialization="challenge", epsilon=0.3, dtype="float32"):
  """Builds the network with fresh weights.

  Two 5×5 convolutions of 32 and 64 filters, each with 2×2 max-pooling, 1024 hidden units and one logit a class: on MNIST
  3,274,634 parameters.

  Args:
    image_shape: (height, width, channels).
    num_classes: number of logits.
    seed: of the initial weights.
    initialization: "challenge": weights truncated normal with deviation 0.1, biases 0.1; "he": weights truncated normal
      with variance 2 / inputs (He et al. 2015), biases 0; "threshold": as "he", but that the first layer has 16 filters, in
      pairs that see little of what an attacker can change, and the second sees their differences, see `thresholds.py`.
    epsilon: radius of the ball that the thresholds are for.
    dtype: of the weights and of what is computed, but for the logits layer, which is always float32.

  Returns:
    A Keras model from float32 [batch, height, width, channels] to float32 logits [batch, num_classes].
  """
  height, width, _ = image_shape
  require(min(height, width) >= SMALLEST_IMAGE, "image size", f"{height}x{width}",
          f"at least {SMALLEST_IMAGE}x{SMALLEST_IMAGE} pixels")

  def initial(layer):
    initializers, own_seed = keras.initializers, _layer_seed(seed, layer)
    he = initialization != "challenge"
    return {"kernel_initializer": initializers.HeNormal(own_seed) if he else initializers.TruncatedNormal(0, 0.1, own_seed),
            "bias_initializer": initializers.Constant(0.0 if he else 0.1)}

  images = keras.Input(image_shape, name="images", dtype="float32")
  paired = initialization == "threshold"
  first = PooledConvolution(thresholds.FILTERS if paired else 32, name="conv1", dtype=dtype, **initial(0))
  x = first(images)
  if paired:
    thresholds.give(first, epsilon)
    x = thresholds.differences(x)
  x = PooledConvolution(64, name="conv2", dtype=dtype, **initial(1))(x)
  x = keras.layers.Flatten(data_format="channels_last", dtype=dtype)(x)
  x = keras.layers.Dense(1024, activation="relu", name="hidden", dtype=dtype, **initial(2))(x)
  logits = keras.layers.Dense(num_classes, name="logits", dtype="float32", **initial(3))(x)
  return keras.Model(images, logits, name="challenge_cnn")


@keras.saving.register_keras_serializable("tf_madry")
class PooledConvolution(keras.layers.Layer):
  """ReLU of a 5×5 convolution (SAME, with bias) under 2×2 max-pooling, computed in an order that is quicker.

  Pooling comes before bias and ReLU. They commute, since both are monotone, and in this order three quarters of their
  work, forward and backward, are never done.

  Of an image with few channels the four outputs that a pooling compares are computed as four groups of filters of one
  3×3 convolution over its 2×2 blocks of pixels. That is 1.44 times the arithmetic, but libraries are slow at
  convolutions of few channels, and slower at their gradients.
  """

  def __init__(self, filters, kernel_initializer, bias_initializer, **kwargs):
    super().__init__(**kwargs)
    self.filters = filters
    self.kernel_initializer = keras.initializers.get(kernel_initializer)
    self.bias_initializer = keras.initializers.get(bias_initializer)

  def build(self, input_shape):
    """Makes the weights: kernel [5, 5, channels, filters] and bias [filters]."""
    _, height, width, channels = input_shape
    self._in_blocks = channels <= FEW_CHANNELS and height % 2 == width % 2 == 0
    self.kernel = self.add_weight(shape=(5, 5, channels, self.filters), initializer=self.kernel_initializer, name="kernel")
    self.bias = self.add_weight(shape=(self.filters,), initializer=self.bias_initializer, name="bias")

  def call(self, images):
    """From [batch, height, width, channels] to [batch, ⌈height / 2⌉, ⌈width / 2⌉, filters]."""
    kernel, bias = tf.convert_to_tensor(self.kernel), tf.convert_to_tensor(self.bias)
    if not self._in_blocks:
      return _pooled_convolution(images, kernel, bias)
    _, height, width, _ = images.shape
    x = _pooled_convolution(tf.nn.space_to_depth(images, 2), in_blocks(kernel), tf.tile(bias, [4]), groups=4)
    return tf.reshape(x, [-1, height // 2, width // 2, self.filters])

  def get_config(self):
    """What Keras needs to save the layer."""
    return super().get_config() | {
        "filters": self.filters, "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        "bias_initializer": keras.initializers.serialize(self.bias_initializer)}


def _pooled_convolution(images, kernel, bias, groups=1):
  """ReLU of a convolution with bias, and the maximum over 2×2 pixels or, with `groups`, over groups of filters.

  In this order libraries do convolution, bias and ReLU in one kernel. Backward the ReLU comes first, which is the same, since
  a maximum above 0 is never one that the ReLU cut: so it and the sum of the bias see a quarter of the numbers.
  """
  @tf.custom_gradient
  def function(images, kernel, bias):
    filtered = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(images, kernel, 1, "SAME"), bias))
    rows = filtered
    size = {"ksize": [1, 2, 2, 1], "strides": [1, 2, 2, 1], "padding": "SAME"}
    if groups > 1:
      _, height, width, filters = filtered.shape
      rows = tf.reshape(filtered, [-1, height * width, groups, filters // groups])
      size = {"ksize": [1, 1, groups, 1], "strides": [1, 1, groups, 1], "padding": "VALID"}
    pooled = tf.raw_ops.MaxPool(input=rows, **size)

    def gradient(change):
      change = tf.raw_ops.ReluGrad(gradients=change, features=pooled)
      of_bias = tf.tile(tf.reduce_sum(change, (0, 1, 2)), [groups])
      change = tf.raw_ops.MaxPoolGrad(orig_input=rows, orig_output=pooled, grad=change, **size)
      change = tf.reshape(change, tf.shape(filtered))
      how = {"out_backprop": change, "strides": [1, 1, 1, 1], "padding": "SAME"}
      return (tf.raw_ops.Conv2DBackpropInput(input_sizes=tf.shape(images), filter=kernel, **how),
              tf.raw_ops.Conv2DBackpropFilter(input=images, filter_sizes=kernel.shape, **how), of_bias)

    return pooled, gradient
  return function(images, kernel, bias)


def in_blocks(kernel):
  """A 5×5 convolution's kernel as that of a 3×3 convolution over 2×2 blocks of pixels (`tf.nn.space_to_depth`).

  Args:
    kernel: [5, 5, channels, filters].

  Returns:
    [3, 3, 4 · channels, 4 · filters]; the outputs are the four of a block, row by row, with all filters each.
  """
  _, _, channels, filters = kernel.shape
  # From a pixel of an output block to one of an input block, `block` blocks and some pixels away: a tap of the kernel, or
  # too far for it. Along one axis, [block, pixel in the input block, pixel in the output block].
  block, source, target = np.ogrid[:3, :2, :2]
  tap = 2 * (block - 1) + source - target + 2
  near = (tap >= 0) & (tap < 5)
  taps = np.where(near, tap, 0)
  # [block y, block x, source y, source x, target y, target x] of both axes.
  y, x = np.s_[:, None, :, None, :, None], np.s_[None, :, None, :, None, :]
  both = 5 * taps[y] + taps[x]
  weights = tf.gather(tf.reshape(kernel, [25, channels, filters]), both)
  weights *= tf.cast((near[y] & near[x])[..., None, None], kernel.dtype)
  return tf.reshape(tf.transpose(weights, (0, 1, 2, 3, 6, 4, 5, 7)), [3, 3, 4 * channels, 4 * filters])


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
  try:
    state = tf.train.get_checkpoint_state(path)
  except UnicodeDecodeError:  # TensorFlow's is text
    return None
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
  except (tf.errors.OpError, ValueError, TypeError, RuntimeError, LookupError) as error:
    raise UserError(f"{where} cannot be read: {getattr(error, 'message', error)}") from error
  return weights, step
