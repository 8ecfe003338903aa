"""Which weights a directory stands for: the rule for whoever writes there, and whoever reads.

A directory is one run's. It stands for the newest whole checkpoint in `checkpoints/`. Where there
is none, it stands for the newest that TensorFlow's `checkpoint` file names, which is how the
challenge's code keeps its own. Where there are weights of two runs nobody guesses: who reads has to
name the file, and who trains has to go elsewhere. Files that only their own name stands for, such
as an exported `.keras`, are nobody's run.
"""

import contextlib
import json
import os
import sys

from tf_madry import checkpoints
from tf_madry.config import FIELDS, Config, read_file
from tf_madry.errors import UserError, require

CONFIG = "config.json"
# What other programs keep their weights in: TensorFlow, its SavedModels, PyTorch and its relatives.
LISTING, SAVED_MODEL, ENDINGS = "checkpoint", "saved_model.pb", (".index", ".pt", ".pth", ".ckpt")


def others(model_dir: str) -> list[str]:
  """Names of a directory's files that hold another program's weights, or say where they are."""
  found = sorted(os.listdir(model_dir)) if os.path.isdir(model_dir) else []
  return [name for name in found if (name in (LISTING, SAVED_MODEL) or name.endswith(ENDINGS))
          and _holds_weights(os.path.join(model_dir, name))]


def _holds_weights(path):
  if os.path.basename(path) != LISTING or not os.path.isfile(path):
    return os.path.isfile(path)
  with open(path, "rb") as file:  # anybody may have a file of this name
    return b"model_checkpoint_path" in file.read(4096)


def require_own(model_dir: str) -> None:
  """For who is to train there: `UserError` if a directory is another program's, or of two runs."""
  accepted = "a directory of its own: give another --model_dir"
  foreign = others(model_dir)
  require(not foreign, "model_dir", model_dir,
          f"{accepted} (this one holds another program's {', '.join(foreign[:3])})")
  _require_one_run(model_dir)
  path = os.path.join(model_dir, CONFIG)
  if os.path.exists(path) and not checkpoints.list_paths(model_dir):
    require(_is_ours(path), "model_dir", model_dir,
            f"{accepted} (the {CONFIG} of this one is another program's, and would be replaced)")


def require_one(model_dir: str) -> None:
  """For who reads: `UserError` if a directory holds weights of two runs.

  A config.json of another run than the checkpoints is no reason to refuse them; it is said.
  """
  paths, foreign = checkpoints.list_paths(model_dir), others(model_dir)
  if paths and foreign:
    raise UserError(f"{model_dir!r} holds weights of two programs, {paths[0]!r} and "
                    f"{foreign[0]!r}: give the path of the checkpoint that is meant")
  theirs = _require_one_run(model_dir)
  path = os.path.join(model_dir, CONFIG)
  with contextlib.suppress(UserError):
    beside = Config.from_values(read_file(path)[0]).experiment() if os.path.exists(path) else None
    if theirs and beside and (differs := _difference(theirs, beside)):
      print(f"warning: {path!r} is of another run than the checkpoints beside it, which count: "
            f"{differs}", file=sys.stderr)


def _require_one_run(model_dir):
  """The experiment that the checkpoints of a directory are of; None if none of them tells."""
  paths = checkpoints.list_paths(model_dir)
  known = [(path, experiment) for path in paths if (experiment := _experiment(path))]
  for path, experiment in known[1:]:
    if differs := _difference(known[0][1], experiment):
      raise UserError(f"{model_dir!r} holds checkpoints of two runs, {known[0][0]!r} and {path!r} "
                      f"({differs}): give the path of the one that is meant, or move one away")
  return known[0][1] if known else None


def _experiment(path):
  values = checkpoints.read_values(path)
  with contextlib.suppress(UserError):
    return values and Config.from_values(values).experiment()


def _difference(one, other):
  """The first setting that two experiments do not share, in words; None if they are the same."""
  return next((f"{name} {one[name]!r} and {other[name]!r}" for name in one.keys() & other.keys()
               if one[name] != other[name]), None)


def _is_ours(path):
  """Whether a config.json may be of `train.py`; one that cannot be read may not."""
  try:
    with open(path, "rb") as file:
      values = json.loads(file.read())
    # One of an earlier version may have settings that there are no more.
    return isinstance(values, dict) and ("versions" in values or set(values) <= set(FIELDS))
  except (OSError, ValueError):
    return False
