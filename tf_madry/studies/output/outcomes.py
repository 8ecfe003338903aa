"""What a study found, and how it is written: JSON, CSV, plots, Markdown."""

import base64
import csv
import dataclasses
import importlib
import io
import os
import typing

import numpy as np

import tf_madry
from tf_madry.errors import UserError
from tf_madry.evaluation.intervals import wilson
from tf_madry.runtime import files
from tf_madry.studies.lab import cache
from tf_madry.studies.output import plots
from tf_madry.training.progress import duration


@dataclasses.dataclass(frozen=True)
class Table:
  """A table of texts."""

  caption: str
  header: list
  rows: list


@dataclasses.dataclass(frozen=True)
class Figure:
  """A plot; `draw` returns a matplotlib figure or, of something that moves, a `plots.Animation`.

  `of` says in the plot itself what its numbers are of, in a few words.
  """

  name: str
  caption: str
  draw: typing.Callable
  of: str = ""


@dataclasses.dataclass(frozen=True)
class Claim:
  """A claim of the paper, whether it was `seen` here (None: cannot be said), and the numbers it rests on."""

  claim: str
  seen: bool | None
  evidence: str


@dataclasses.dataclass(frozen=True)
class Findings:
  """All of a study; `records` are its numbers, {name of a CSV file: list of {column: value}}."""

  title: str
  claims: list
  tables: list
  figures: list
  records: dict
  notes: list


class Study(typing.NamedTuple):
  """A study's JSON file: `settings`, `machine` (that times are of), `seconds` of training and evaluation, and `data`."""

  settings: dict
  machine: dict
  seconds: float
  data: dict


def path(out, name):
  """Of a study's JSON file."""
  return os.path.join(out, f"{name}.json")


def check(out, name, settings):
  """`UserError` if the folder holds this study with other settings: they are not overwritten."""
  if os.path.exists(path(out, name)):
    theirs = load(out, name).settings
    for setting, value in settings.items():
      if theirs.get(setting) != value:
        raise UserError(f"out {out!r} holds {name} with {setting} {theirs.get(setting)!r}, not {value!r}: give it that, or "
                        "choose another --out (networks are found again where their settings are equal)")


def save(out, name, study):
  """Writes a study's JSON file."""
  cache.write(path(out, name), {"study": name, "version": tf_madry.__version__, **study._asdict()})


def load(out, name):
  """The `Study` in a folder; `UserError` when it is not there, or cannot be read."""
  if not os.path.exists(path(out, name)):
    raise UserError(f"out is {out!r}, accepted: a folder that holds {name}.json, as `python -m tf_madry.studies {name}` "
                    "writes it")
  values = cache.read(path(out, name))
  try:
    return Study(**{field: values[field] for field in Study._fields})
  except (KeyError, TypeError) as error:
    raise UserError(f"{path(out, name)!r} is not a study: {error} is missing") from error


def findings(out, name, study):
  """The `Findings` of a `Study` from a folder; `UserError` when its numbers are not those that are measured today."""
  try:
    return importlib.import_module(f"tf_madry.studies.{name}").findings(study.data, study.settings)
  except (LookupError, TypeError) as error:
    raise UserError(f"{path(out, name)!r} does not hold what {name} measures ({type(error).__name__}: {error}); without "
                    "--plot_only it is put together again from what the folder holds") from error


def present(out, findings, settings):
  """Writes the CSV files and plots of `Findings` of a study with these settings."""
  for name, records in findings.records.items():
    _write_csv(os.path.join(out, f"{name}.csv"), records)
  for figure in findings.figures:
    of = [figure.of, *(f"{name} {settings[name]}" for name in ("scale", "seed"))]
    plots.save(os.path.join(out, figure.name), figure.draw, ", ".join(filter(None, of)))


def _write_csv(path, records):
  text = io.StringIO()
  writer = csv.DictWriter(text, list(records[0]) if records else [], lineterminator="\n")
  writer.writeheader()
  writer.writerows(records)
  with files.output("table", path) as file:
    file.write(text.getvalue().encode())


SEEN = {True: "seen", False: "not seen", None: "cannot be said"}


def markdown(name, study, findings):
  """A study as a section of Markdown: lines."""
  yield f"## {findings.title}"
  yield ""
  settings = ", ".join(f"{key} {_plain(value)}" for key, value in study.settings.items() if value is not None)
  machine = ", ".join(f"{key} {value}" for key, value in study.machine.items())
  took = f"{duration(study.seconds)} of training and evaluation"
  yield f"`python -m tf_madry.studies {name}`: {'; '.join(filter(None, (settings, machine, took)))}."
  yield ""
  for note in findings.notes:
    yield f"{note}"
    yield ""
  yield from _lines(Table("", ["the paper's claim", "here", "numbers"],
                          [[claim.claim, SEEN[claim.seen], claim.evidence] for claim in findings.claims]))
  for table in findings.tables:
    yield table.caption
    yield ""
    yield from _lines(table)
  for figure in findings.figures:
    yield f"![{figure.name}]({plots.file_name(figure)})"
    yield ""
    yield figure.caption
    yield ""
  if findings.records:
    yield "Numbers: " + ", ".join(f"[{name}.csv]({name}.csv)" for name in findings.records) + "."
    yield ""


def _lines(table):
  yield f"| {' | '.join(map(str, table.header))} |"
  yield "|---" * len(table.header) + "|"
  for row in table.rows:
    yield f"| {' | '.join(map(str, row))} |"
  yield ""


def _plain(value):
  return ", ".join(map(str, value)) if isinstance(value, list) else value


def percent(accuracy, n=None):
  """An accuracy for people, with its 95 % interval if n is given."""
  if n is None:
    return f"{accuracy:.1%}"
  low, high = wilson(accuracy, n)
  return f"{accuracy:.1%} ({low:.1%}–{high:.1%})"


def pack(array):
  """An array as text, for JSON."""
  file = io.BytesIO()
  np.savez_compressed(file, array=array)
  return base64.b64encode(file.getvalue()).decode()


def unpack(text):
  """The array that `pack` packed."""
  with np.load(io.BytesIO(base64.b64decode(text)), allow_pickle=False) as archive:
    return archive["array"]
