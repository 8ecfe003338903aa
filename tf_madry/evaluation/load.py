"""What is evaluated, by name: the examples, and the models that attacks are crafted on."""

import dataclasses
import os

from tf_madry import config as configs
from tf_madry import datasets
from tf_madry.errors import require
from tf_madry.models import foreign, loading

SPLITS = ("test", "validation", "train")
EXAMPLES = ("spread", "first")


def load_source(path: str, target: loading.LoadedModel) -> loading.LoadedModel:
  """Loads the model to craft on; `UserError` unless it takes the same images and tells as many
  classes apart."""
  dataset = target.config.training.dataset if foreign.is_foreign(path) else None
  source = loading.load_model(path, dataset)
  for what in ("input_shape", "output_shape"):
    theirs, ours = (getattr(loaded.model, what)[1:] for loaded in (source, target))
    require(theirs == ours, f"{what.replace('_', ' ')} of source {path!r}", theirs,
            f"{ours}, as of {target.path!r}")
  return source


def run_config(model_dir: str) -> configs.Config:
  """The settings of a run by its config.json; one that has not written that yet may be the
  paper's."""
  path = os.path.join(model_dir, "config.json")
  config, _ = configs.resolve({}, path=path if os.path.exists(path) else None)
  return config


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
  """Which examples of a data set to evaluate on.

  Attributes:
    split: name in `SPLITS`.
    num_examples: how many; None: all.
    examples: whether they are spread over the split, or its first ones.
  """

  split: str = "test"
  num_examples: int | None = None
  examples: str = "spread"

  def __post_init__(self):
    require(self.split in SPLITS, "split", self.split, ", ".join(SPLITS))
    require(self.examples in EXAMPLES, "examples", self.examples, ", ".join(EXAMPLES))

  def of(self, dataset: str) -> datasets.Split:
    """Those of a data set; `UserError` where it has none, or fewer."""
    split = getattr(datasets.load(dataset), self.split)
    require(len(split), "split", self.split,
            f"one that has examples, which that of {dataset} has not")
    if self.num_examples is None:
      return split
    choose = split.spread if self.examples == "spread" else split.head
    return choose(self.num_examples)

  def text(self, n: int) -> str:
    """The choice, and how many it is, in words."""
    note = {"spread": ", spread over the split", "first": ", the first ones"}[self.examples]
    return f"{n:,} {self.split} examples{'' if self.num_examples is None else note}"
