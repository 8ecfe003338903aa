"""Networks to begin with, shipped with the code: `pretrained/NAME` wherever a model is asked for.

Of each there is NAME.npz, a checkpoint of the weights alone, in float16 to be half as large, and
NAME.json, its card: how it was trained, and what these rounded weights reach.
"""

import json
import os
import pathlib
import re
from typing import Any

import numpy as np

from tf_madry import checkpoints
from tf_madry.checkpoints import Checkpoint
from tf_madry.errors import UserError, require
from tf_madry.runtime import files

FOLDER = pathlib.Path(__file__).parent.parent / "pretrained"
PATH = re.compile(r"pretrained/([\w-]+)/?")
KEPT = ("step", "image_shape", "num_classes")  # of a checkpoint's arrays, besides the weights


def find(path: str | os.PathLike) -> str | None:
  """The name of the network that a path stands for; None for any other path.

  What there is under that path in the current folder comes first.
  """
  match = PATH.fullmatch(os.fspath(path))
  return match[1] if match and not os.path.exists(path) else None


def names(folder: pathlib.Path = FOLDER) -> list[str]:
  """The networks that there are."""
  return sorted(path.stem for path in folder.glob("*.npz"))


def read(name: str, folder: pathlib.Path = FOLDER) -> Checkpoint:
  """The checkpoint of a network, its weights as float32.

  Raises:
    UserError: there is none of that name, or its file is damaged.
  """
  require(name in names(folder), "pretrained network", name, ", ".join(names(folder)) or "none here")
  try:
    checkpoint = checkpoints.read(str(folder / f"{name}.npz"))
  except checkpoints.DamagedError as error:
    raise UserError(f"pretrained network {name!r} is damaged ({error}): restore it from the source "
                    "of this package") from error
  arrays = {key: array.astype(np.float32) if array.dtype == np.float16 else array
            for key, array in checkpoint.arrays.items()}
  return checkpoint._replace(arrays=arrays, path=f"pretrained/{name}")


def write(name: str, checkpoint: Checkpoint, folder: pathlib.Path = FOLDER) -> None:
  """Writes a network's file from a checkpoint of its training.

  Raises:
    UserError: a weight that float16 cannot hold, a name that is none, or a file that cannot be
      written.
  """
  require(PATH.fullmatch(f"pretrained/{name}"), "name", name, "letters, digits, - and _")
  arrays = {key: checkpoint.arrays[key] for key in KEPT}
  for key, array in checkpoint.arrays.items():
    if key.startswith("model/"):
      arrays[key] = array.astype(np.float16)
      require(np.isfinite(arrays[key]).all(), f"{key} of {checkpoint.path!r}", "beyond float16",
              "weights of at most 65,504")
  # Where it was trained is nobody's business.
  values = checkpoint.values | {"model_dir": f"pretrained/{name}"}
  about = {checkpoints.CONFIG_KEY: json.dumps(values),
           checkpoints.NAMES_KEY: json.dumps(list(arrays))}
  with files.output("pretrained network", str(folder / f"{name}.npz")) as file:
    np.savez_compressed(file, **{key: np.array(text) for key, text in about.items()}, **arrays)


def read_card(name: str, folder: pathlib.Path = FOLDER) -> dict[str, Any]:
  """The card of a network; `UserError` if there is none."""
  path = folder / f"{name}.json"
  require(path.exists(), "card", str(path), "a file: a network is put in before its results")
  return json.loads(path.read_text(encoding="utf-8"))


def write_card(name: str, card: dict[str, Any], folder: pathlib.Path = FOLDER) -> None:
  """Writes the card of a network."""
  with files.output("card", str(folder / f"{name}.json")) as file:
    file.write(json.dumps(card, indent=2, ensure_ascii=False).encode() + b"\n")
