"""What is evaluated, by name: the examples, and the models that attacks are crafted on."""

import os

from tf_madry import config as configs
from tf_madry import datasets
from tf_madry.errors import require
from tf_madry.models import loading

SPLITS = ("test", "validation", "train")


def load_source(path: str, target: loading.LoadedModel) -> loading.LoadedModel:
  """Loads the model to craft on; `UserError` unless it takes the same images and tells as many
  classes apart."""
  source = loading.load_model(path)
  for what in ("input_shape", "output_shape"):
    theirs, ours = (getattr(loaded.model, what)[1:] for loaded in (source, target))
    require(theirs == ours, f"{what.replace('_', ' ')} of source {path!r}", theirs,
            f"{ours}, as of {target.path!r}")
  return source


def run_config(model_dir: str) -> configs.Config:
  """The settings of a run by its config.json; one that has not written that yet may be the paper's."""
  path = os.path.join(model_dir, "config.json")
  config, _ = configs.resolve({}, path=path if os.path.exists(path) else None)
  return config


def choose_split(dataset: str, split: str, num_examples: int | None = None) -> datasets.Split:
  """The first `num_examples` (None: all) of a split of a data set."""
  require(split in SPLITS, "split", split, ", ".join(SPLITS))
  chosen = getattr(datasets.load(dataset), split)
  require(len(chosen), "split", split, f"one that has examples, which that of {dataset} has not")
  return chosen if num_examples is None else chosen.head(num_examples)
