"""Measurements that are made once.

Each is a JSON file, named after the digest of everything that decides its value.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from typing import Any

from tf_madry.errors import UserError
from tf_madry.runtime import files
from tf_madry.studies.lab import machines


def prepare(out: str) -> None:
  """Creates an output folder if need be.

  Raises:
    UserError: it cannot be made or written.
  """
  try:
    os.makedirs(out, exist_ok=True)
    with tempfile.TemporaryFile(dir=out):
      pass
  except OSError as error:
    raise UserError(f"out {out!r} cannot be written: {error.strerror}") from error


def digest(key: Any) -> str:
  """A short name for a JSON value: the start of its SHA-256."""
  return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]


def remember(out: str, key: Any,
             compute: Callable[[], Any]) -> tuple[Any, dict[str, str] | None]:
  """What `compute()` returned when it was first called for this key, and where that was.

  Args:
    out: the output folder.
    key: what decides the value, as JSON has it.
    compute: called without arguments; returns a value as JSON has it.

  Returns:
    (value, machine): machine as `machines.here` says it, or None where it was not recorded.

  Raises:
    UserError: the file cannot be read or written, is of another key, or holds no value.
  """
  folder = os.path.join(out, "cache")
  path = os.path.join(folder, f"{digest(key)}.json")
  if os.path.exists(path):
    entry = read(path)
    if not isinstance(entry, dict) or entry.get("key") != json.loads(json.dumps(key)):
      raise UserError(f"{path!r} is a measurement with other settings than its name says; remove "
                      "it, or choose another --out")
    if "value" not in entry:
      raise UserError(f"{path!r} is damaged (it holds no value); remove it, or choose another "
                      "--out")
    return entry["value"], entry.get("machine")
  value, machine = compute(), machines.here()
  prepare(folder)
  write(path, {"key": key, "value": value, "machine": machine})
  return value, machine


def read(path: str) -> Any:
  """The JSON value in a file; `UserError` when there is none."""
  try:
    with open(path, encoding="utf-8") as file:
      return json.load(file)
  except OSError as error:
    raise UserError(f"{path!r} cannot be read: {error.strerror}") from error
  except ValueError as error:
    raise UserError(f"{path!r} is damaged ({error}); remove it, or choose another --out") from error


def write(path: str, value: Any) -> None:
  """Writes a JSON value whole or not at all; `UserError` when it cannot be written."""
  with files.output("result", path) as file:
    file.write(json.dumps(value, indent=1).encode() + b"\n")
