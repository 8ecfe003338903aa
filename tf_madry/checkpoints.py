"""Checkpoints: one .npz file each, written whole or not at all, verified when read.

A file holds every array of a run by name (`model/conv1/kernel`, `optimizer/…`, whatever a stepper
adds), the step, the config as JSON, and the list of the arrays' names. NumPy's archive carries a
checksum of every array, so that reading it is verifying it.
"""

import json
import os
import re
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from tf_madry.config import Config
from tf_madry.errors import UserError, require
from tf_madry.runtime import files

FOLDER = "checkpoints"
NAME = re.compile(r"step-(\d{8}|[1-9]\d{8,})\.npz")
CONFIG_KEY = "config.json"
NAMES_KEY = "arrays.json"  # not in older files
ZIP = b"PK"  # the beginning of an .npz archive


class Checkpoint(NamedTuple):
  """What a checkpoint holds: `step`, `values` (the config, flat), `arrays` by name; its `path`."""

  step: int
  values: dict
  arrays: dict
  path: str


Variable = Any  # of Keras or TensorFlow, neither of which is needed to read a file


class DamagedError(Exception):
  """A checkpoint file is not whole; the message says in what way."""


def prepare(model_dir: str) -> None:
  """Makes the folder of checkpoints, and takes out what killed writers left there.

  Raises:
    UserError: it cannot be made or written.
  """
  folder = os.path.join(model_dir, FOLDER)
  try:
    os.makedirs(folder, exist_ok=True)
    files.remove_temporary(folder)
  except OSError as error:
    raise UserError(f"{folder!r} cannot be written: {error.strerror}") from error


def save(model_dir: str, step: int, config: Config, arrays: Mapping[str, np.ndarray], *,
         keep: int) -> str:
  """Writes a checkpoint atomically, then removes all but the newest `keep` up to its step.

  Those of later steps go first: a run that saves a step has passed them over as damaged, and will
  do their steps again.

  Args:
    model_dir: the run's directory.
    step: number of training steps done.
    config: of the run.
    arrays: {name: numpy array}.
    keep: how many files stay.

  Returns:
    The path of the new file.

  Raises:
    UserError: it could not be written (disk full, not writable); earlier checkpoints are as they
      were.
  """
  path = path_of(model_dir, step)
  try:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with files.replacing(path) as file:
      about = {CONFIG_KEY: json.dumps(config.values()), NAMES_KEY: json.dumps(list(arrays))}
      np.savez(file, **{name: np.array(text) for name, text in about.items()}, **arrays)
  except OSError as error:
    intact = "; earlier checkpoints are intact" if list_paths(model_dir) else ""
    reason = f"{error.strerror or error}{intact}"
    raise UserError(f"checkpoint {path!r} cannot be written: {reason}") from error
  paths = list_paths(model_dir)
  own = paths.index(path)
  for other in paths[:own] + paths[own + keep:]:
    os.remove(other)
  return path


def path_of(model_dir: str, step: int) -> str:
  """Where a model directory has its checkpoint of a step."""
  return os.path.join(model_dir, FOLDER, f"step-{step:08d}.npz")


def list_paths(model_dir: str) -> list[str]:
  """Paths of a model directory's checkpoints, newest first; [] when there are none."""
  folder = os.path.join(model_dir, FOLDER)
  names = os.listdir(folder) if os.path.isdir(folder) else []
  steps = {int(match[1]): name for name in names if (match := NAME.fullmatch(name))}
  return [os.path.join(folder, steps[step]) for step in sorted(steps, reverse=True)]


def read(path: str) -> Checkpoint:
  """Reads a checkpoint file and verifies every byte of it.

  Raises:
    DamagedError: it is truncated, empty, altered, or not a checkpoint.
    UserError: it cannot be opened.
  """
  arrays = read_arrays(path)
  try:
    values = json.loads(str(arrays.pop(CONFIG_KEY)))
    missing = [name for name in json.loads(str(arrays.pop(NAMES_KEY, "[]"))) if name not in arrays]
    # What a model is built of.
    sizes = np.concatenate([arrays["image_shape"], arrays["num_classes"][np.newaxis]])
    step = int(arrays["step"])
  except KeyError as error:
    raise DamagedError(f"{error.args[0]} is missing") from error
  except (ValueError, TypeError, AttributeError) as error:
    raise DamagedError(str(error).splitlines()[0]) from error
  if missing:
    raise DamagedError(f"{missing[0]} is missing")
  if not isinstance(values, dict):
    raise DamagedError(f"{CONFIG_KEY} is {values!r}")
  if sizes.shape != (4,) or sizes.dtype.kind not in "iu" or sizes.min() < 1:
    raise DamagedError(f"image_shape and num_classes are {sizes.tolist()}")
  return Checkpoint(step, values, arrays, path)


def read_arrays(path: str) -> dict[str, np.ndarray]:
  """Every array of an .npz file, by name, verified; errors as in `read`."""
  try:
    with open(path, "rb") as file:
      # NumPy would take it for a pickle, and say how to load that.
      if file.read(len(ZIP)) != ZIP:
        raise ValueError("it is not a checkpoint, which is an .npz archive")
      file.seek(0)
      with np.load(file, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
  except (PermissionError, FileNotFoundError, IsADirectoryError) as error:
    raise UserError(f"{path!r} cannot be read: {error.strerror}") from error
  except Exception as error:  # an altered byte can make anything of an archive, of a header, or of a size
    raise DamagedError((str(error) or type(error).__name__).splitlines()[0]) from error


def read_values(path: str) -> dict | None:
  """The config of a checkpoint, flat, without its arrays; None if it is damaged or has gone."""
  try:
    with open(path, "rb") as file:
      if file.read(len(ZIP)) != ZIP:
        return None
      file.seek(0)
      with np.load(file, allow_pickle=False) as archive:
        values = json.loads(str(archive[CONFIG_KEY]))
        return values if isinstance(values, dict) else None
  except Exception:  # as in `read_arrays`
    return None


def read_newest(model_dir: str) -> Checkpoint | None:
  """The newest whole checkpoint of a model directory, or None when it has none at all.

  Damaged ones are reported on standard error and passed over.

  Raises:
    UserError: there are checkpoints, but none is whole.
  """
  paths = list_paths(model_dir)
  for path in paths:
    try:
      return read(path)
    except DamagedError as error:
      print(f"warning: checkpoint {path!r} is damaged ({error}); trying the one before it",
            file=sys.stderr)
  if paths:
    raise UserError(f"none of the {len(paths)} checkpoints in {model_dir!r} is whole; nothing was "
                    "changed there")
  return None


def home(path: str) -> str:
  """The model directory that a checkpoint belongs to."""
  folder = os.path.dirname(path)
  return os.path.dirname(folder) or "." if os.path.basename(folder) == FOLDER else folder or "."


def variables_of(owner: Any, prefix: str) -> dict[str, Variable]:
  """{name: variable} of a Keras model or optimizer; names do not depend on what else was built."""
  return {f"{prefix}/{variable.path}": variable for variable in owner.variables}


def restore(variables: Mapping[str, Variable], checkpoint: Checkpoint) -> None:
  """Assigns arrays to Keras or TensorFlow variables, all or none.

  Raises:
    UserError: an array is missing or has another shape; no variable was changed.
  """
  for name, variable in variables.items():
    found = checkpoint.arrays.get(name)
    expected = f"an array of shape {tuple(variable.shape)}"
    require(found is not None, f"{name} of {checkpoint.path!r}", "missing", expected)
    require(found.shape == tuple(variable.shape), f"{name} of {checkpoint.path!r}", found.shape, expected)
  for name, variable in variables.items():
    variable.assign(checkpoint.arrays[name])
