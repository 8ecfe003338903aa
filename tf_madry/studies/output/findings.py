"""What a study found: claims of the paper with their verdicts, tables, figures."""

import dataclasses
from collections.abc import Callable
from typing import Any

from tf_madry.evaluation.intervals import wilson

SEEN = {True: "seen", False: "not seen", None: "cannot be said"}
NOT_TESTED = "not tested: no such network was trained"


@dataclasses.dataclass(frozen=True)
class Claim:
  """A claim of the paper and the numbers that speak for or against it.

  `seen` says whether it was seen here; None: that cannot be said.
  """

  claim: str
  seen: bool | None
  evidence: str


@dataclasses.dataclass(frozen=True)
class Table:
  """A table of texts and numbers, as they are to be printed."""

  caption: str
  header: list[str]
  rows: list[list[Any]]


@dataclasses.dataclass(frozen=True)
class Figure:
  """A plot.

  `draw` returns a matplotlib figure or, of something that moves, a `plots.Animation`. `of` says
  inside the plot what its numbers are of, in a few words.
  """

  name: str
  caption: str
  draw: Callable[[], Any]
  of: str = ""


@dataclasses.dataclass(frozen=True)
class Findings:
  """All that a study found.

  `records` are its numbers, {name of a CSV file: list of {column: value}}.
  """

  title: str
  claims: list[Claim]
  tables: list[Table]
  figures: list[Figure]
  records: dict[str, list[dict[str, Any]]]
  notes: list[str]


def all_of(verdicts: list[bool | None]) -> bool | None:
  """Whether all of some verdicts are true.

  None where there is none, or where it hangs on one that cannot be said.
  """
  if False in verdicts:
    return False
  return None if not verdicts or None in verdicts else True


def percent(accuracy: float, n: int | None = None) -> str:
  """An accuracy for people, with its 95 % interval if n is given."""
  if n is None:
    return f"{accuracy:.1%}"
  low, high = wilson(accuracy, n)
  return f"{accuracy:.1%} ({low:.1%}–{high:.1%})"


def without(row: dict[str, Any], *names: str) -> dict[str, Any]:
  """A row of a CSV file: some values of a row of data left out."""
  return {name: value for name, value in row.items() if name not in names}
