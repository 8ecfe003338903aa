"""How well a model in training does on examples that it is not trained on."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tf_madry import datasets
from tf_madry.attacks.losses import score
from tf_madry.attacks.pgd import PGD
from tf_madry.evaluation import accuracy, bounds, pictures
from tf_madry.training.learner import Learner

EXAMPLES = 1_000  # of the validation split: an interval of ±2 points for a few seconds of work
BATCH = 200


class Validation(NamedTuple):
  """What a validation found.

  Attributes:
    result: accuracies and losses.
    certificate: what bounds prove of a model that was trained on them.
    strips: pictures of the easiest and hardest examples of the first batch.
  """

  result: accuracy.Result
  certificate: bounds.Certificate | None
  strips: pictures.Strips


class _CutShort(Exception):
  pass


def validate(learner: Learner, split: datasets.Split,
             cut_short: Callable[[], bool] = bool) -> Validation | None:
  """Measures `EXAMPLES`, spread over a split, under `Config.evaluation_attack`.

  Args:
    learner: whose result is measured.
    split: the validation split, or a part of it.
    cut_short: asked after each batch whether to leave off.

  Returns:
    None if it was cut short.
  """
  def look(*_):
    if cut_short():
      raise _CutShort

  config = learner.config
  attack = PGD(**dataclasses.asdict(config.evaluation_attack))
  examples = split.spread(min(len(split), EXAMPLES))
  adversarial = np.empty(examples.images.shape, np.float32)
  try:
    result = accuracy.evaluate(learner.model, attack, examples, batch_size=BATCH,
                               seed=config.training.seed, on_batch=look, adversarial=adversarial)
  except _CutShort:
    return None
  bounded = config.training.bounds
  certificate = bounds.certify(learner.model, examples, attack.epsilon) if bounded else None
  strips = pictures.strips(learner.model, examples.slice(0, BATCH), adversarial[:BATCH])
  return Validation(result, certificate, strips)


def natural_accuracy(model: keras.Model, images: tf.Tensor, labels: tf.Tensor) -> float:
  """The share of images that a model is right about, in [0, 1]."""
  right, _ = score(model, images, labels)
  return float(tf.reduce_mean(tf.cast(right, tf.float32)))
