"""How long attacks will take: how often they ask the model, times how long it takes to answer."""

import time
from typing import NamedTuple

import tensorflow as tf

from tf_madry import datasets
from tf_madry.attacks import apgd, pgd, square, targeted
from tf_madry.attacks.losses import xent
from tf_madry.attacks.standing import num_classes
from tf_madry.runtime.text import duration

REPETITIONS = 3  # the fastest counts: what disturbs a measurement only makes it slower


def queries(attack, num_classes):
  """(gradients, forward passes without one) that an attack takes for an example that stands to the end."""
  match attack:
    case pgd.FGSM():
      return 1, 0
    case pgd.PGD(k=k):
      return k, 0
    case targeted.MultiTargeted(k=k):
      return k * (num_classes - 1), 0
    case apgd.APGD(k=k):
      return k + 1, 0
    case apgd.APGDT(k=k, targets=targets):
      return (k + 1) * min(targets, num_classes - 1), 0
    case square.Square(queries=count):
      return 0, count
  raise TypeError(f"attack is {attack!r}, accepted: one whose cost is known")


class Speed(NamedTuple):
  """Seconds that an example takes: for a `gradient`, and for a `forward` pass."""

  gradient: float
  forward: float


def speed(model, split, batch_size):
  """Measures the `Speed` of a model on the first batch of a split; the time to compile is left out."""
  images = tf.constant(datasets.as_float(split.images[:batch_size]))
  labels = tf.constant(split.labels[:batch_size])

  @tf.function
  def gradient():
    # Both are needed: a model that has no gradient would not even be called for it.
    changes, losses, _ = pgd.differentiate(model, xent, images, (labels,))
    return tf.reduce_sum(changes) + tf.reduce_sum(losses)

  @tf.function
  def forward():
    return tf.reduce_sum(model(images))

  return Speed(_fastest(gradient) / len(labels), _fastest(forward) / len(labels))


def estimate(record, groups):
  """A line that says how long the trials of a record will take.

  Args:
    record: `trials.Trials`.
    groups: lists of names of trials, which will run in this order, each list on what stands against all of it.
  """
  measured = speed(record.model, record.split, record.batch_size)
  classes = num_classes(record.model, datasets.as_float(record.split.images[:1]))
  left = {name: int((record.standing(*names) & ~record.tried(name)).sum())
          for names in reversed(groups) for name in names}
  seconds = 0.0
  for name, count in left.items():
    gradients, forwards = queries(record.trials[name].attack, classes)
    seconds += count * (gradients * measured.gradient + forwards * measured.forward)
  known = "going on from an earlier run: " if record.resumed else ""
  return (f"{known}about {duration(seconds)}, compiling left out, less as examples fall and are left alone (extrapolated "
          f"from one batch: {1 / measured.gradient:,.0f} gradients/s, {1 / measured.forward:,.0f} forward passes/s)")


def _fastest(function):
  function()
  times = []
  for _ in range(REPETITIONS):
    began = time.monotonic()
    function().numpy()
    times.append(time.monotonic() - began)
  return min(times)
