"""What the parts of an asynchronous step cost one process: crafting, learning, handing over weights."""

import copy
import itertools
import statistics
import time
from collections.abc import Callable

import tensorflow as tf

from tf_madry.asynchronous.local.weights import SharedWeights
from tf_madry.datasets import Batches
from tf_madry.training.learner import Learner
from tf_madry.training.step import AdversarialStep

NAMES = ("craft", "learn", "publish", "reload")


def measure(learner: Learner, batches: Batches, rounds: int, once_compiled: Callable[[], object] = lambda: None
            ) -> dict[str, float]:
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
