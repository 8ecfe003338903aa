"""What a training run leaves behind."""

import json
import pathlib

import numpy as np

from tf_madry import checkpoints


def arrays(model_dir: pathlib.Path | str) -> dict[str, np.ndarray]:
  """Those of the newest checkpoint that are the same whenever the run is the same."""
  found = checkpoints.read_newest(str(model_dir)).arrays
  return {name: array for name, array in found.items() if name != "elapsed"}


def same(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> bool:
  """Whether they are equal, bit for bit."""
  return left.keys() == right.keys() and all(
      np.array_equal(left[name], right[name]) for name in left)


def rows(model_dir: pathlib.Path) -> list[dict]:
  """The lines of metrics.jsonl."""
  return [json.loads(line) for line in (model_dir / "metrics.jsonl").read_text().splitlines()]
