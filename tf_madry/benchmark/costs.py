"""What the parts of an asynchronous step cost: crafting, learning, handing over weights."""

import copy
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tf_madry.asynchronous.local.weights import SharedWeights
from tf_madry.asynchronous.weights import SavedWeights
from tf_madry.datasets import Batches
from tf_madry.training.learner import Learner
from tf_madry.training.step import AdversarialStep

NAMES = ("craft", "learn", "publish", "reload")


def measure(learner: Learner, batches: Batches, rounds: int,
            once_compiled: Callable[[], object] = lambda: None) -> dict[str, float]:
  """Median seconds of each of `NAMES`, compiling left out.

  Args:
    learner: what crafts and is trained.
    batches: the data stream.
    rounds: how often each is timed.
    once_compiled: called before the first timed round.
  """
  one, weights = AdversarialStep(learner), learner.trained.weights
  ours = SharedWeights([tuple(variable.shape) for variable in weights])
  theirs = copy.copy(ours)  # as a worker has it
  times = []
  for step in range(rounds + 1):
    if step == 1:
      once_compiled()
    marks = [time.perf_counter()]
    images, labels = one.craft(tf.constant(batches.indices(step)), tf.constant(step))
    images.numpy()
    marks.append(time.perf_counter())
    float(one.learn(images, labels, tf.constant(step)).loss)
    marks.append(time.perf_counter())
    ours.publish(step, weights)
    marks.append(time.perf_counter())
    for variable, array in zip(weights, theirs.fetch(), strict=True):
      variable.assign(array)
    marks.append(time.perf_counter())
    times.append([later - earlier for earlier, later in itertools.pairwise(marks)])
  return dict(zip(NAMES, map(statistics.median, zip(*times[1:], strict=True)), strict=True))


class Saved(NamedTuple):
  """Seconds that weights in files take: of the trainer, of its thread, of a worker."""

  publish: float
  write: float
  reload: float


def saved(learner: Learner, rounds: int) -> Saved:
  """Medians of weights in files, in a temporary folder."""
  weights = learner.trained.weights
  times = []
  with tempfile.TemporaryDirectory() as folder:
    ours = _saved_weights(learner, folder)
    theirs = copy.copy(ours)  # as a worker has it
    ours.publish(0, weights)
    for step in range(1, rounds + 1):
      marks = [time.perf_counter()]
      ours.publish(step, weights)
      marks.append(time.perf_counter())
      ours.wait()
      marks.append(time.perf_counter())
      for variable, array in zip(weights, theirs.fetch(), strict=True):
        variable.assign(array)
      marks.append(time.perf_counter())
      times.append([later - earlier for earlier, later in itertools.pairwise(marks)])
    ours.close()
  return Saved(*map(statistics.median, zip(*times, strict=True)))


def slowdown(learner: Learner, rounds: int, steps: int = 400, every: int = 100,
             rate: float = 500.0) -> float:
  """Share of the time that weights in files cost a trainer with so many steps/s.

  The median of some rounds. Its steps are sums of an array that is as large as makes a step last
  1 / `rate` seconds.
  """
  weights = learner.trained.weights
  load = np.ones(2**20, np.float32)
  start = time.perf_counter()
  for _ in range(20):
    load.sum()
  load = np.ones(int(len(load) * 20 / (time.perf_counter() - start) / rate), np.float32)

  def run(publish):
    start = time.perf_counter()
    for step in range(1, steps + 1):
      load.sum()
      if step % every == 0:
        publish(step)
    return time.perf_counter() - start

  with tempfile.TemporaryDirectory() as folder:
    ours = _saved_weights(learner, folder)
    ours.publish(0, weights)
    shares = [run(lambda step: ours.publish(step, weights)) / run(lambda step: None) - 1
              for _ in range(rounds)]
    ours.close()
  return statistics.median(shares)


def _saved_weights(learner, folder):
  shapes = {variable.path: tuple(variable.shape) for variable in learner.trained.weights}
  return SavedWeights(folder, shapes)
