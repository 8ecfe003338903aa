"""Signs that a model hides its gradients instead of being robust (the paper's gradient shattering, §4)."""

import numpy as np
import tensorflow as tf

from tf_madry import datasets
from tf_madry.attacks.losses import xent
from tf_madry.attacks.pgd import PGD, differentiate
from tf_madry.attacks.standing import num_classes
from tf_madry.evaluation import measure

# A share of the examples counts when the lower end of its 95 % interval is above this. Honest MNIST models lose one or
# two in a hundred to what comes after a strong gradient attack: the challenge's secret model 1.4, from 50 restarts of PGD
# to Square.
CLEARLY = 0.05
SAMPLE = 200  # examples for what needs no trials
WIDE = PGD(k=40, epsilon=1.0, random_start=False)  # noise from a random start would fool models that hide gradients


def signs(model, split, right, comparisons):
  """Looks for signs of hidden gradients.

  Args:
    model: maps images to logits.
    split: `datasets.Split`.
    right: bool [n], which of its examples the model gets right without an attack.
    comparisons: of `beyond`.

  Returns:
    A list of sentences, each with the numbers it rests on; empty for a model that shows none.
  """
  numbers = np.flatnonzero(right)[:SAMPLE]
  if not len(numbers):
    return []
  images, labels = tf.constant(datasets.as_float(split.images[numbers])), tf.constant(split.labels[numbers])
  return [sign for sign in (*comparisons, _zero_gradients(model, images, labels), _large_epsilon(model, images, labels))
          if sign]


def beyond(trials, strong, weak, story):
  """A sentence if some attacks clearly break what others, which should be no weaker, leave standing; else None.

  Args:
    trials: `trials.Trials`; what stands against the weak attacks was tried by the strong ones.
    strong, weak: names of trials.
    story: what happened to an example that counts, for the sentence.
  """
  broken = trials.standing(*weak) & trials.tried(*weak) & trials.broken(*strong)
  return _sign(int(broken.sum()), int(trials.right.sum()), story)


def lines(warnings):
  """What `signs` returns, as lines of text."""
  return [f"warning: the model may hide its gradients: {warning}" for warning in warnings]


def _zero_gradients(model, images, labels):
  gradient, *_ = tf.function(differentiate)(model, xent, images, (labels,))
  zero = tf.reduce_all(gradient == 0, [1, 2, 3])
  return _sign(int(tf.reduce_sum(tf.cast(zero, tf.int32))), len(labels),
               "have an input gradient of exactly zero in every pixel")


def _large_epsilon(model, images, labels):
  right, _ = measure.score(model, WIDE(model, images, labels), labels)
  chance = 1 / num_classes(model, images)
  return _sign(int(tf.reduce_sum(tf.cast(right, tf.int32))), len(labels),
               f"stand against PGD-{WIDE.k} at ε = 1, where every image is allowed", above=chance)


def _sign(count, n, what, above=CLEARLY):
  if not n or measure.wilson(count / n, n)[0] <= above:
    return None
  return f"{count:,} of {n:,} examples ({count / n:.1%}) {what} (expected: at most {above:.0%})"
