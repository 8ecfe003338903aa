"""What is written of studies: CSV files and plots of one, a report of all in a folder."""

import csv
import io
import os
import sys
from collections.abc import Iterator
from typing import Any

from tf_madry.errors import UserError
from tf_madry.runtime import files
from tf_madry.runtime.text import duration
from tf_madry.studies import STUDIES, study
from tf_madry.studies.lab.options import STEPS, batch_size
from tf_madry.studies.output import plots, results
from tf_madry.studies.output.findings import SEEN, Findings, Table
from tf_madry.studies.output.results import Results

NAME = "report.md"
TRAINING_EXAMPLES = 55_000  # of an epoch (§6)

INTRODUCTION = """# The paper's tables and figures

Towards Efficient Methods for Training Robust Deep Neural Networks (Bhat, Tsipras, Mądry 2018).
Accuracies are of so many examples as stand beside them, spread over the set, with 95 % (Wilson)
intervals. Two accuracies on the same images are compared image by image, by McNemar's exact test.
One training stands behind each network, as in the paper: a test tells two networks apart, not two
methods. Losses are mean cross-entropies. Times are of the runs as they were, on machines that had
other work as well. Scale 1 is the paper's size, 60,000 steps of batch 128. Below it there are fewer
steps, and three things that make something of them: He initialisation, ε rising over the first
tenth of the steps, and a learning rate that rises over the first tenth to the one named and then
falls to 0.
"""


def findings_of(out: str, name: str, found: Results) -> Findings:
  """What a study found, from its results in a folder.

  Raises:
    UserError: they are not what it collects today.
  """
  try:
    return study.load(name).findings(found.data, found.settings)
  except (LookupError, TypeError) as error:
    raise UserError(f"{results.path(out, name)!r} does not hold what {name} measures "
                    f"({type(error).__name__}: {error}); without --plot_only it is put together "
                    "again from what the folder holds") from error


def draw(out: str, findings: Findings, settings: dict[str, Any]) -> None:
  """Writes the CSV files and plots of a study with these settings."""
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


def write(out: str) -> str:
  """Writes the report of what is there, and says what is not.

  A study that cannot be drawn, such as one of an earlier version, is said there and on standard
  error.

  Returns:
    Its path.

  Raises:
    UserError: there is no study in the folder, or none that can be drawn.
  """
  there = [name for name in STUDIES if results.is_there(out, name)]
  if not there:
    results.load(out, STUDIES[0])  # says what is expected
  lines, not_drawn = [INTRODUCTION], {}
  for name in there:
    try:
      found = results.load(out, name)
      lines += section(name, found, findings_of(out, name, found))
    except UserError as error:
      not_drawn[name] = error
  if len(not_drawn) == len(there):
    raise next(iter(not_drawn.values()))
  if not_drawn:
    lines += ["## Not drawn", "", ", ".join(f"`{name}`" for name in not_drawn)
              + ": the numbers are not those that are measured today.", ""]
    print("\n".join(f"warning: {error}" for error in not_drawn.values()), file=sys.stderr)
  missing = [name for name in STUDIES if name not in there]
  if missing:
    lines += ["## Not run", "", ", ".join(f"`{name}`" for name in missing), ""]
  path = os.path.join(out, NAME)
  with files.output("report", path) as file:
    file.write("\n".join(lines).encode())
  return path


def section(name: str, found: Results, findings: Findings) -> Iterator[str]:
  """A study as a section of Markdown: lines."""
  yield f"## {findings.title}"
  yield ""
  settings = ", ".join(f"{key} {_plain(value)}" for key, value in found.settings.items()
                       if value is not None)
  machine = ", ".join(f"{key} {value}" for key, value in found.machine.items())
  took = f"{duration(found.seconds)} of training and evaluation"
  said = "; ".join(filter(None, (settings, machine, took)))
  yield f"`python -m tf_madry.studies {name}`: {said}."
  yield ""
  for note in (training_size(found.settings), *findings.notes):
    yield note
    yield ""
  yield from _lines(Table("", ["the paper's claim", "here", "numbers"],
                          [[claim.claim, SEEN[claim.seen], claim.evidence]
                           for claim in findings.claims]))
  for table in findings.tables:
    yield table.caption
    yield ""
    yield from _lines(table)
  for figure in findings.figures:
    yield f"![{figure.name}]({plots.file_name(figure.name)})"
    yield ""
    yield figure.caption
    yield ""
  if findings.records:
    yield "Numbers: " + ", ".join(f"[{name}.csv]({name}.csv)" for name in findings.records) + "."
    yield ""


def training_size(settings: dict[str, Any]) -> str:
  """A sentence on how long the networks of a study with these settings are trained."""
  steps, batch = max(1, round(settings["scale"] * STEPS)), batch_size(settings)
  epochs, papers = steps * batch / TRAINING_EXAMPLES, STEPS * 128 / TRAINING_EXAMPLES
  return (f"Networks are trained for {steps:,} steps of batch {batch}, {epochs:.3g} epochs (paper: "
          f"{STEPS:,} steps of batch 128, {papers:.0f} epochs).")


def _lines(table):
  yield f"| {' | '.join(map(str, table.header))} |"
  yield "|---" * len(table.header) + "|"
  for row in table.rows:
    yield f"| {' | '.join(map(str, row))} |"
  yield ""


def _plain(value):
  return ", ".join(map(str, value)) if isinstance(value, list) else value
