"""A study's JSON file: its numbers, and what they were measured with."""

import os
from typing import Any, NamedTuple

import tf_madry
from tf_madry.errors import UserError
from tf_madry.studies.lab import cache


class Results(NamedTuple):
  """What a study's file holds.

  `settings` it was made with, the `machine` that times are of, `seconds` of training and
  evaluation, and `data` as the study collected it.
  """

  settings: dict[str, Any]
  machine: dict[str, str]
  seconds: float
  data: dict[str, Any]


def path(out: str, name: str) -> str:
  """Of a study's JSON file."""
  return os.path.join(out, f"{name}.json")


def is_there(out: str, name: str) -> bool:
  """Whether a folder holds this study."""
  return os.path.exists(path(out, name))


def require_same(out: str, name: str, settings: dict[str, Any]) -> None:
  """`UserError` if the folder holds this study with other settings: it is not overwritten."""
  if is_there(out, name):
    theirs = load(out, name).settings
    for setting, value in settings.items():
      if theirs.get(setting) != value:
        raise UserError(f"out {out!r} holds {name} with {setting} {theirs.get(setting)!r}, not "
                        f"{value!r}: give it that, or choose another --out (networks are found "
                        "again where their settings are equal)")


def save(out: str, name: str, results: Results) -> None:
  """Writes a study's JSON file."""
  cache.write(path(out, name), {"study": name, "version": tf_madry.__version__,
                                **results._asdict()})


def load(out: str, name: str) -> Results:
  """Reads it; `UserError` when it is not there, or cannot be read."""
  if not is_there(out, name):
    raise UserError(f"out is {out!r}, accepted: a folder that holds {name}.json, as `python -m "
                    f"tf_madry.studies {name}` writes it")
  values = cache.read(path(out, name))
  try:
    return Results(**{field: values[field] for field in Results._fields})
  except (KeyError, TypeError) as error:
    raise UserError(f"{path(out, name)!r} is not a study: {error} is missing") from error
