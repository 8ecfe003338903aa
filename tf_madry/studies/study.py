"""The seam between studies and what runs them: a study is a module that has what `Study` names."""

import importlib
from typing import Any, Protocol

from tf_madry.studies.lab.lab import Lab
from tf_madry.studies.output.findings import Findings


class Study(Protocol):
  """A table or figures of the paper, or a question beside it."""

  OPTIONS: tuple[str, ...]
  """Names of the fields of `lab.options.Options` that decide its numbers, besides those that decide
  all studies.
  """

  def collect(self, lab: Lab) -> dict[str, Any]:
    """Trains and evaluates what is not known yet; returns numbers, as JSON has them."""

  def findings(self, data: dict[str, Any], settings: dict[str, Any]) -> Findings:
    """What the numbers of `collect` say, given the settings that they were collected with."""


def load(name: str) -> Study:
  """The study of a name in `STUDIES`."""
  return importlib.import_module(f"tf_madry.studies.{name}")
