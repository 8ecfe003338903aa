"""Certified accuracy: the examples that no image of the ball can take away, by interval bounds."""

import dataclasses
import time
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf

from tf_madry import datasets
from tf_madry.attacks.losses import score
from tf_madry.evaluation.intervals import wilson
from tf_madry.evaluation.verify import TOLERANCE
from tf_madry.models import intervals
from tf_madry.models.foreign import Foreign
from tf_madry.runtime import numerics
from tf_madry.runtime.text import duration, percent_interval

BATCH = 500
LITTLE = 0.1  # share of what is right without an attack, below which is said why so little is proven


@dataclasses.dataclass(frozen=True)
class Certificate:
  """What was proven on n examples. Accuracies are in [0, 1], intervals 95 % (Wilson).

  Of a certified example the label's logit is above all others for every image of the ball, and for
  whatever else an attack may return: the ball is wider by what verification tolerates. What is not
  certified may be robust all the same: the bounds are upper bounds of what an attack can do.
  """

  epsilon: float
  n: int
  natural_accuracy: float
  natural_interval: tuple[float, float]
  certified_accuracy: float
  certified_interval: tuple[float, float]
  seconds: float


@numerics.float32()
def certify(model: keras.Model | Foreign, split: datasets.Split, epsilon: float, *,
            batch_size: int = BATCH, certified: np.ndarray | None = None,
            on_batch: Callable[[int], None] | None = None) -> Certificate:
  """Bounds a model on every example of a split (see `models/intervals/`).

  Args:
    model: a network of layers that bounds are known of.
    split: the examples.
    epsilon: radius of the ball, in units of the pixel range.
    batch_size: examples at a time.
    certified: bool array [n] to fill with whether each example is certified.
    on_batch: called with the number of examples done.

  Raises:
    UserError: a layer of which no bounds are known; its name is said.
  """
  began = time.monotonic()
  look, right, proven = _compiled(model, epsilon + TOLERANCE, split.images.shape[1:]), [], []
  for start in range(0, len(split), batch_size):
    images = tf.constant(datasets.as_float(split.images[start:start + batch_size]))
    labels = tf.constant(split.labels[start:start + batch_size])
    for found, each in zip((right, proven), look(images, labels), strict=True):
      found.append(each.numpy())
    if on_batch:
      on_batch(start + len(labels))
  right, proven = np.concatenate(right), np.concatenate(proven)
  if certified is not None:
    certified[:] = proven
  n, natural, share = len(split), float(right.mean()), float(proven.mean())
  return Certificate(epsilon, n, natural, wilson(natural, n), share, wilson(share, n),
                     time.monotonic() - began)


def _compiled(model, epsilon, image_shape):
  """What takes images and labels to (right without an attack, proven within ε).

  It holds for the weights as they are: how many of them are 0, and which are pairs, is in it.
  """
  theirs = isinstance(model, Foreign)
  network, own = (model.network, model.own) if theirs else (model, lambda images: images)

  @tf.function(autograph=False, input_signature=[
      tf.TensorSpec([None, *image_shape], tf.float32), tf.TensorSpec([None], tf.int32)])
  def look(images, labels):
    box = intervals.around(images, epsilon).map(own)
    margins = intervals.margins(*intervals.hidden(network, box, sound=True), labels, sound=True)
    others = tf.one_hot(labels, margins.shape[-1], False, True)
    return score(model, images, labels)[0], tf.reduce_all((margins > 0) | ~others, -1)

  return look


def lines(result: Certificate) -> Iterator[str]:
  """A certificate as lines of text."""
  yield (f"natural:    {result.natural_accuracy:7.2%}  "
         f"(95 % interval {percent_interval(result.natural_interval)})")
  yield (f"certified:  {result.certified_accuracy:7.2%}  "
         f"(95 % interval {percent_interval(result.certified_interval)})  no image within "
         f"ε = {result.epsilon:g} fools the model, by interval bounds; {duration(result.seconds)}")
  if result.certified_accuracy < LITTLE * result.natural_accuracy:
    yield ("bounds widen with every layer: of a model that was not trained on them (--recipe "
           "certified is) they prove little, be it robust or not")
