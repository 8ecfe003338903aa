"""The network in training, in up to three copies: to learn with, to compute with, to keep."""

import tensorflow as tf

from tf_madry import models
from tf_madry.config import Config
from tf_madry.models import thresholds


class Copies:
  """The copies, which are one where nothing keeps them apart.

  Attributes:
    trained: the Keras model whose weights the optimizer moves, in float32; a smaller one than the
      result where it begins as thresholds (see `models/thresholds.py`).
    computing: the one that forward and backward passes of training go through: `trained`, or its
      copy in another precision.
    result: what the run is for: `trained`, or the running average of its weights, in the form of
      the paper's network.
  """

  def __init__(self, config: Config, image_shape: tuple[int, int, int], num_classes: int):
    training = config.training

    def build(dtype="float32", initialization=training.initialization):
      return models.build(training.network, image_shape, num_classes, seed=training.seed,
                          initialization=initialization, epsilon=config.attack.epsilon, dtype=dtype)

    self._averaging = training.averaging
    narrow = training.initialization in thresholds.INITIALIZATIONS
    self.trained = build()
    self.computing = build(training.precision) if training.precision != "float32" else self.trained
    self.result = build(initialization="he") if training.averaging or narrow else self.trained
    for result, weight in zip(self.result.weights, self._as_result(), strict=True):
      result.assign(weight)

  def follow(self) -> None:
    """Gives the computing copy the trained weights."""
    if self.computing is not self.trained:
      for ours, theirs in zip(self.computing.weights, self.trained.weights, strict=True):
        ours.assign(tf.cast(theirs, ours.dtype))

  def average(self, step: tf.Tensor) -> None:
    """Takes the weights after training step `step` (from 0) into the running average."""
    if self.result is self.trained:
      return
    # While there is little to average over, what is older counts for less: nothing is left of the
    # initial weights.
    done = tf.cast(step, tf.float32)
    decay = tf.minimum(self._averaging, (1 + done) / (10 + done))
    for average, weight in zip(self.result.weights, self._as_result(), strict=True):
      average.assign(decay * average + (1 - decay) * weight)

  def _as_result(self):
    """The trained weights as those of the result."""
    return thresholds.widen(self.trained.weights, [weight.shape for weight in self.result.weights])

  @property
  def apart(self) -> bool:
    """Whether steps compute with another copy than the result."""
    return self.computing is not self.result
