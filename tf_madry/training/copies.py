"""The network in training, in up to four copies: to learn with, to compute with, to keep."""

from collections.abc import Sequence

import tensorflow as tf

from tf_madry import models
from tf_madry.config import Config
from tf_madry.models import thresholds

AVERAGED_EVERY = 4  # steps: between neighbours weights hardly differ, and it takes a tenth of a step


class Copies:
  """The copies, which are one where nothing keeps them apart.

  Attributes:
    trained: the Keras model whose weights the optimizer moves, in float32; a smaller one than the
      result where it begins as thresholds (see `models/thresholds.py`).
    computing: the one that forward and backward passes of training go through: `trained`, or its
      copy in another precision, of a run on bounds with other weights as well (`normalization.py`).
    result: what the run is for: `trained`, or the running average of its weights, or of those other
      ones, in the form of the paper's network.
  """

  def __init__(self, config: Config, image_shape: tuple[int, int, int], num_classes: int):
    training = config.training

    def build(dtype="float32", initialization=training.initialization):
      return models.build(training.network, image_shape, num_classes, seed=training.seed,
                          initialization=initialization, epsilon=config.attack.epsilon, dtype=dtype)

    self._averaging = training.averaging
    narrow = training.initialization in thresholds.INITIALIZATIONS
    self.trained = build()
    # What computes, in float32.
    self._followed = build() if training.bounds else self.trained
    self.computing = self._followed if training.precision == "float32" else build(training.precision)
    self.result = build(initialization="he") if training.averaging or narrow else self.trained
    for result, weight in zip(self.result.weights, self._as_result(), strict=True):
      result.assign(weight)

  def follow(self, weights: Sequence[tf.Tensor] | None = None) -> None:
    """Gives the computing copy the trained weights, or those that were made of them."""
    if weights is not None:
      for ours, theirs in zip(self._followed.weights, weights, strict=True):
        ours.assign(theirs)
    if self.computing is not self._followed:
      for ours, theirs in zip(self.computing.weights, self._followed.weights, strict=True):
        ours.assign(tf.cast(theirs, ours.dtype))

  def average(self, step: tf.Tensor, last: tf.Tensor) -> None:
    """Takes the weights after training step `step` (from 0) into the running average.

    That is done every few steps, and after the `last` one; where others were made of the weights,
    with those of before it.
    """
    if self.result is self.trained:
      return
    every = AVERAGED_EVERY if self._averaging else 1
    # While there is little to average over, what is older counts for less: nothing is left of the
    # initial weights.
    done = tf.cast(step, tf.float32)
    decay = tf.minimum(self._averaging**every, (1 + done) / (10 * every + done))

    def average():
      for average, weight in zip(self.result.weights, self._as_result(), strict=True):
        average.assign(decay * average + (1 - decay) * weight)

    tf.cond(last | tf.equal((step + 1) % every, 0), average, lambda: None)

  def _as_result(self):
    """The weights that compute as those of the result."""
    return thresholds.widen(self._followed.weights, [weight.shape for weight in self.result.weights])

  @property
  def apart(self) -> bool:
    """Whether steps compute with another copy than the result."""
    return self.computing is not self.result
