"""Checkpoints of the challenge's own TensorFlow 1 code."""

import os
import re

import numpy as np
import tensorflow as tf

from tf_madry.errors import UserError, require
from tf_madry.models import network

# Our names of the challenge's variables, in the order in which its graph makes them.
ORDER = ("conv1/kernel", "conv1/bias", "conv2/kernel", "conv2/bias", "hidden/kernel", "hidden/bias",
                   "logits/kernel", "logits/bias")


def find_checkpoint(path: str) -> str | None:
  """The prefix of a TF1 checkpoint's files, or None when the path is of something else.

  Args:
    path: such a prefix, one of the files, or a directory with TensorFlow's `checkpoint` file in it.

  Raises:
    UserError: the directory's `checkpoint` file names none that is there.
  """
  if not os.path.isdir(path):
    prefix = re.sub(r"\.(index|meta|data-\d{5}-of-\d{5})$", "", path)
    return prefix if os.path.exists(f"{prefix}.index") else None
  listing = os.path.join(path, "checkpoint")
  if not os.path.isfile(listing):
    return None
  try:
    state = tf.train.get_checkpoint_state(path)
  except UnicodeError:  # TensorFlow's is text
    return None
  newest = state and state.model_checkpoint_path
  require(newest and os.path.exists(f"{newest}.index"), f"newest checkpoint by {listing!r}", newest or "not named",
          "one that is there; --checkpoint takes the prefix of its files")
  return newest


def read_checkpoint(prefix: str) -> tuple[dict[str, np.ndarray], int]:
  """Reads a checkpoint: variables `Variable` to `Variable_7`, and global_step.

  The network is that of `network.build`, with the same layout of every array.

  Args:
    prefix: of its files, such as models/secret/checkpoint-24900.

  Returns:
    ({path of a variable of `network.build()`: float32 array}, step).

  Raises:
    UserError: it cannot be read, or holds another network.
  """
  where = f"TF1 checkpoint {prefix!r}"
  ours = {variable.path: tuple(variable.shape) for variable in network.build().variables}
  try:
    reader = tf.train.load_checkpoint(prefix)
    shapes = reader.get_variable_to_shape_map()
    theirs = {f"Variable_{number}" if number else "Variable": path for number, path in enumerate(ORDER)}
    extra = sorted(name for name in shapes if re.fullmatch(r"Variable(_\d+)?", name) and name not in theirs)
    require(not extra, f"variables of {where}", ", ".join(extra), ", ".join(theirs))
    for name, path in theirs.items():
      require(name in shapes, f"{name} of {where}", "missing", f"an array of shape {ours[path]}")
      require(tuple(shapes[name]) == ours[path], f"shape of {name} in {where}", tuple(shapes[name]), f"{ours[path]}")
    weights = {path: np.asarray(reader.get_tensor(name), np.float32) for name, path in theirs.items()}
    step = int(reader.get_tensor("global_step")) if "global_step" in shapes else 0
  except (tf.errors.OpError, ValueError, TypeError, RuntimeError, LookupError) as error:
    raise UserError(f"{where} cannot be read: {getattr(error, 'message', error)}") from error
  return weights, step
