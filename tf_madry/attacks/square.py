"""The Square attack (Andriushchenko et al. 2020): random search that sees only logits, never a
gradient.

    attack = Square(queries=5000)
    adversarial = attack(model, images, labels, seed=0)
"""

import dataclasses
from typing import ClassVar

import numpy as np
import tensorflow as tf

from tf_madry.attacks import linf
from tf_madry.attacks.base import Cost, Model, Seed, brief, check_patience, later
from tf_madry.attacks.losses import margin
from tf_madry.attacks.restarts import in_turn
from tf_madry.errors import require
from tf_madry.runtime import seeds
from tf_madry.runtime.graphs import float32_logits
from tf_madry.settings import check_attack

# The area of a square is halved after so many of 10,000 queries, as in the authors' code.
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
HOPEFUL = 0.1  # share of the queries that a robust network's examples take under a patience of 2
# Queries between two looks at who still stands: a few tenths of a second, of which the look takes
# hundredths.
ROUND = 100


def sides(queries: int, p_init: float, height: int, width: int) -> np.ndarray:
  """The side of the square of each query, in pixels: its area starts at `p_init` of the image and
  falls in steps.

  Returns:
    int32 array [queries].
  """
  halvings = np.searchsorted(HALVINGS, np.arange(queries) * 10_000 // queries)
  area = p_init / 2.0 ** halvings * height * width
  return np.clip(np.round(np.sqrt(area)), 1, min(height, width)).astype(np.int32)


@tf.function(reduce_retracing=True)
def search(model: Model, images: tf.Tensor, labels: tf.Tensor, best: tf.Tensor, lowest: tf.Tensor,
           first: tf.Tensor, sides: tf.Tensor, epsilon: tf.Tensor,
           key: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
  """Queries number `first` to `first + ROUND - 1`, as far as there are any (Algorithms 1 and 2).

  Each proposes for every example the best image so far with a square of it moved to one side of the
  ball, and keeps it if it lowers the margin. The first query of all proposes vertical stripes.

  Args:
    model: maps images to logits.
    images: float32 [batch, height, width, channels] in [0, 1].
    labels: int32 [batch].
    best: the best images so far, as `images`.
    lowest: float32 [batch], the margins of `best`; infinite before the first query.
    first: int32, number of the first query.
    sides: int32 [queries], see `sides`.
    epsilon: float32, radius of the ball.
    key: int32 [2], see `seeds.key`.

  Returns:
    (best, lowest, fooled): as given, and whether the model gets `best` wrong, [batch]; such an
    image is not changed any more.
  """
  lower, upper = linf.ball(images, epsilon)
  fooled = tf.zeros_like(labels, tf.bool)
  query, end = first, tf.minimum(first + ROUND, tf.size(sides))
  while query < end and not tf.reduce_all(fooled):
    random = tf.random.fold_in(key, query)
    proposed = (_stripes(lower, upper, random) if query == 0
                else _square(best, lower, upper, sides[query], random))
    logits = float32_logits(model, proposed)
    wrong, margins = tf.argmax(logits, -1, tf.int32) != labels, margin(logits, labels)
    better = ~fooled & (wrong | (margins < lowest))
    best = tf.where(better[:, tf.newaxis, tf.newaxis, tf.newaxis], proposed, best)
    lowest = tf.where(better, margins, lowest)
    fooled |= wrong
    query += 1
  return best, lowest, fooled


def _stripes(lower, upper, key):
  """Columns one pixel wide, each at one side of the ball."""
  batch, _, width, channels = tf.unstack(tf.shape(lower))
  up = tf.random.stateless_uniform([batch, 1, width, channels], key) < 0.5
  return tf.where(up, upper, lower)


def _square(best, lower, upper, side, key):
  """`best` with a square of random place at one side of the ball, a side for each channel."""
  batch, height, width, channels = tf.unstack(tf.shape(best))
  random = tf.random.stateless_uniform([batch, 2 + channels], key)
  window = (_span(random[:, 0], side, height)[:, :, tf.newaxis, tf.newaxis]
            & _span(random[:, 1], side, width)[:, tf.newaxis, :, tf.newaxis])
  up = random[:, tf.newaxis, tf.newaxis, 2:] < 0.5
  proposed = tf.where(window, tf.where(up, upper, lower), best)
  # A square that changes nothing would waste the query: it goes to the other side.
  idle = tf.reduce_all(proposed == best, [1, 2, 3], keepdims=True)
  return tf.where(window, tf.where(up ^ idle, upper, lower), best)


def _span(random, side, size):
  """Which of `size` pixels lie in an interval of length `side`, placed by random numbers in [0, 1):
  [batch, size]."""
  start = tf.cast(random * tf.cast(size - side + 1, tf.float32), tf.int32)[:, tf.newaxis]
  pixel = tf.range(size)
  return (pixel >= start) & (pixel < start + side)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Square:
  """The Square attack for ℓ∞ on the margin; defaults as in AutoAttack, but that the schedule spans
  `queries`.

  Attributes:
    queries: perturbed images of each example that the model is asked about at the most.
    epsilon: radius of the ball, in units of the pixel range.
    p_init: share of the image that the first squares cover.
    patience: when to give an example up: where its margin would stay above 0 if each doubling of
      the queries to come lowered it `patience` times as far as the last one did. Progress slows
      down as a search goes on. None: never, as in the paper.
  """

  randomised: ClassVar[bool] = True
  fewest_classes: ClassVar[int] = 2

  queries: int = 5000
  epsilon: float = 0.3
  p_init: float = 0.8
  patience: float | None = later()

  __repr__ = brief

  def __post_init__(self):
    check_attack(epsilon=self.epsilon)
    require(self.queries >= 1, "queries", self.queries, "a whole number, at least 1")
    require(0 < self.p_init <= 1, "p_init", self.p_init, "a number above 0, at most 1")
    check_patience(self.patience)

  def cost(self, num_classes: int) -> Cost:
    """As in `Attack`."""
    return Cost(0, self.queries if self.patience is None else round(HOPEFUL * self.queries))

  def __call__(self, model: Model, images: tf.Tensor, labels: tf.Tensor, *,
               seed: Seed = 0) -> tf.Tensor:
    """As in `Attack`."""

    def attempt(images, labels):
      schedule = tf.constant(sides(self.queries, self.p_init, *images.shape[1:3]))
      epsilon, key = tf.constant(self.epsilon, tf.float32), seeds.key(seed, 0, "random start")
      best, lowest = images, tf.fill(tf.shape(labels), float("inf"))
      standing = tf.where(tf.ones_like(labels, tf.bool))
      mark, marked = lowest, 0  # the margins, and after how many queries they were looked at
      for first in range(0, self.queries, ROUND):
        state = [tf.gather_nd(tensor, standing) for tensor in (images, labels, best, lowest)]
        better, margins, fooled = search(model, *state, tf.constant(first), schedule, epsilon, key)
        best = tf.tensor_scatter_nd_update(best, standing, better)
        lowest = tf.tensor_scatter_nd_update(lowest, standing, margins)
        left, done = ~fooled, first + ROUND
        if self.patience and done == 2 * marked:
          doublings = np.log2(self.queries / done)
          lowered = tf.gather_nd(mark, standing) - margins
          left &= margins <= self.patience * doublings * lowered
        if self.patience and done in (ROUND, 2 * marked):
          mark, marked = lowest, done
        standing = standing[left]
        if tf.size(standing) == 0:
          break
      return best

    return in_turn(model, images, labels, [attempt])
