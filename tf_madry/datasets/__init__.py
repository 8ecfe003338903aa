"""Where images come from, and in which order training sees them.

Another data set is another file here, with a function that returns a `Dataset`, and its line in
`SETS`.
"""

from tf_madry.datasets import mnist, tfds
from tf_madry.datasets.examples import Dataset, Split, as_float
from tf_madry.datasets.order import Batches
from tf_madry.errors import require

__all__ = ["FAMILIES", "SETS", "Batches", "Dataset", "Split", "as_float", "load"]

SETS = {"mnist": mnist.load}
FAMILIES = {"tfds": tfds.load}  # named as tfds:NAME, and called with the NAME


def load(name: str = "mnist") -> Dataset:
  """Loads a data set into memory.

  Without a validation split of its own, the first twelfth of a set's training examples is the
  validation split; for MNIST that leaves the paper's 55,000 to train on (Section 6). Without a test
  split, the validation split takes its place.

  Args:
    name: "mnist", or "tfds:NAME" for a set of tensorflow-datasets that has one fixed image size and
      one class label an example, such as "tfds:fashion_mnist", "tfds:emnist/digits" or
      "tfds:cifar10".

  Returns:
    A `Dataset`; its order is the same at every call.

  Raises:
    UserError: the name is unknown, a file is missing or damaged, or the set cannot be had or is of
      another kind.
  """
  if name in SETS:
    return SETS[name]()
  family, _, member = name.partition(":")
  require(family in FAMILIES and member, "dataset", name,
          "mnist, or tfds:NAME such as tfds:fashion_mnist")
  return FAMILIES[family](member)
