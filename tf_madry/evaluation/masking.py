"""Signs that a model masks its gradients instead of being robust (the paper's gradient shattering,
§4)."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tf_madry import datasets
from tf_madry.attacks.base import num_classes
from tf_madry.attacks.losses import score, xent
from tf_madry.attacks.pgd import PGD, differentiate
from tf_madry.evaluation.intervals import wilson
from tf_madry.evaluation.record import Record

# A share of the examples counts when the lower end of its 95 % interval is above this. Honest MNIST
# models lose one or two in a hundred to what comes after a strong gradient attack: the challenge's
# secret model 1.4, from 50 restarts of PGD to Square.
CLEARLY = 0.05
SAMPLE = 200  # examples for what needs no trials
# Noise from a random start would fool models that mask gradients.
WIDE = PGD(k=40, epsilon=1.0, random_start=False)


class Comparison(NamedTuple):
  """Trials that should break nothing that weaker-looking ones leave standing, and what it means if
  they do."""

  strong: tuple[str, ...]
  weak: tuple[str, ...]
  story: str  # what happened to an example that counts


def signs(record: Record, comparisons: Iterable[Comparison]) -> list[str]:
  """Looks for signs of masked gradients.

  Args:
    record: what stands against the weak trials of a comparison was tried by its strong ones.
    comparisons: what to compare.

  Returns:
    Sentences, each with the numbers it rests on; none for a model that shows no signs.
  """
  numbers = np.flatnonzero(record.right)[:SAMPLE]
  if not len(numbers):
    return []
  images = tf.constant(datasets.as_float(record.split.images[numbers]))
  labels = tf.constant(record.split.labels[numbers])
  found = (*(beyond(record, comparison) for comparison in comparisons),
           _zero_gradients(record.model, images, labels),
           _large_epsilon(record.model, images, labels))
  return [sign for sign in found if sign]


def beyond(record: Record, comparison: Comparison) -> str | None:
  """A sentence if some attacks clearly break what others, which should be no weaker, leave
  standing."""
  strong, weak, story = comparison
  broken = record.standing(*weak) & record.tried(*weak) & record.broken(*strong)
  return _sign(int(broken.sum()), int(record.right.sum()), story)


def lines(warnings: Iterable[str]) -> Iterator[str]:
  """What `signs` returns, as lines of text."""
  for warning in warnings:
    yield f"warning: the model may hide its gradients: {warning}"


def _zero_gradients(model, images, labels):
  gradient, *_ = tf.function(differentiate)(model, xent, images, (labels,))
  zero = tf.reduce_all(gradient == 0, [1, 2, 3])
  return _sign(int(tf.reduce_sum(tf.cast(zero, tf.int32))), len(labels),
               "have an input gradient of exactly zero in every pixel")


def _large_epsilon(model, images, labels):
  right, _ = score(model, WIDE(model, images, labels), labels)
  chance = 1 / num_classes(model, images)
  return _sign(int(tf.reduce_sum(tf.cast(right, tf.int32))), len(labels),
               f"stand against PGD-{WIDE.k} at ε = 1, where every image is allowed", above=chance)


def _sign(count, n, what, above=CLEARLY):
  if not n or wilson(count / n, n)[0] <= above:
    return None
  return f"{count:,} of {n:,} examples ({count / n:.1%}) {what} (expected: at most {above:.0%})"
