"""How long attacks will take: how often they ask the model, times how long it takes to answer."""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from tf_madry import datasets
from tf_madry.attacks.base import Model, num_classes
from tf_madry.attacks.losses import xent
from tf_madry.attacks.pgd import differentiate
from tf_madry.evaluation.record import Record
from tf_madry.runtime.text import duration

REPETITIONS = 3  # the fastest counts: what disturbs a measurement only makes it slower


class Speed(NamedTuple):
  """Seconds that an example takes: for a `gradient`, and for a `forward` pass."""

  gradient: float
  forward: float


def speed(model: Model, split: datasets.Split, batch_size: int) -> Speed:
  """Measures the `Speed` of a model on the first batch of a split; the time to compile is left
  out."""
  images = tf.constant(datasets.as_float(split.images[:batch_size]))
  labels = tf.constant(split.labels[:batch_size])

  @tf.function
  def gradient():
    # Both are needed: a model that has no gradient would not even be called for it.
    changes, losses, _ = differentiate(model, xent, images, (labels,))
    return tf.reduce_sum(changes) + tf.reduce_sum(losses)

  @tf.function
  def forward():
    return tf.reduce_sum(model(images))

  return Speed(_fastest(gradient) / len(labels), _fastest(forward) / len(labels))


def estimate(record: Record, groups: Sequence[Sequence[str]]) -> str:
  """A line that says how long the trials of a record will take.

  Args:
    record: what is known already.
    groups: names of trials; the groups run in this order, each on what stands against all of it.
  """
  measured = speed(record.model, record.split, record.batch_size)
  classes = num_classes(record.model, datasets.as_float(record.split.images[:1]))
  left = {name: int((record.standing(*names) & ~record.tried(name)).sum())
          for names in reversed(groups) for name in names}
  seconds = 0.0
  for name, count in left.items():
    gradients, forwards = record.trials[name].attack.cost(classes)
    seconds += count * (gradients * measured.gradient + forwards * measured.forward)
  known = "going on from an earlier run: " if record.resumed else ""
  return (f"{known}about {duration(seconds)}, compiling left out, less as examples fall and are left "
          f"alone (extrapolated from one batch: {1 / measured.gradient:,.0f} gradients/s, "
          f"{1 / measured.forward:,.0f} forward passes/s)")


def _fastest(function: Callable[[], tf.Tensor]) -> float:
  function()
  times = []
  for _ in range(REPETITIONS):
    began = time.monotonic()
    function().numpy()
    times.append(time.monotonic() - began)
  return min(times)
