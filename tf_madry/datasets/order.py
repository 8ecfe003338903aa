"""The order in which training sees its examples."""

import dataclasses
import functools

import numpy as np

from tf_madry.errors import require


@dataclasses.dataclass(frozen=True)
class Batches:
  """The batches of a training run as a pure function of (seed, step).

  One endless stream of example numbers, a new permutation of all of them each epoch, is cut into
  pieces of `batch_size`: a batch may run across the border of two epochs, and every example comes
  exactly once an epoch.

  Raises:
    UserError: `batch_size` is below 1 or above `num_examples`, or `seed` is negative.
  """

  num_examples: int
  batch_size: int
  seed: int

  def __post_init__(self):
    require(1 <= self.batch_size <= self.num_examples, "batch size", self.batch_size,
            f"1 to {self.num_examples}, the number of training examples")
    require(self.seed >= 0, "seed", self.seed, "0 or more")

  def indices(self, step: int) -> np.ndarray:
    """The numbers of the examples of batch `step`, counted from 0: int32 [batch_size]."""
    epoch, start = divmod(step * self.batch_size, self.num_examples)
    head = _epoch_order(self.num_examples, self.seed, epoch)[start:start + self.batch_size]
    tail = _epoch_order(self.num_examples, self.seed, epoch + 1)[:self.batch_size - len(head)]
    return np.concatenate([head, tail])


_EPOCH_ORDER = 1  # purpose: keeps this use of the seed apart from any other


@functools.lru_cache(maxsize=2)
def _epoch_order(num_examples, seed, epoch):
  # The raw bits of a bit generator never change between NumPy versions; what Generator.permutation
  # makes of them may.
  bits = np.random.Philox(np.random.SeedSequence(seed, spawn_key=(_EPOCH_ORDER, epoch)))
  return np.argsort(bits.random_raw(num_examples), kind="stable").astype(np.int32)
