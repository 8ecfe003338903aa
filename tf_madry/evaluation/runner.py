"""Several attacks one after another, each only on the examples that still stand.

The suite and the leaderboard are plans for it, and differ only in how they show their rows.
"""

import contextlib
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tf_madry import datasets
from tf_madry.attacks.base import Attack, Model
from tf_madry.evaluation import estimate, verify
from tf_madry.evaluation.masking import Comparison
from tf_madry.evaluation.progress import Progress
from tf_madry.evaluation.record import Record, Trial
from tf_madry.runtime import files, seeds


class Row(NamedTuple):
  """A row of a table: its name, and the trials whose minimum it is, example by example."""

  name: str
  trials: tuple[str, ...]


class Plan(NamedTuple):
  """What to run, by name; in which rows; what to compare for signs of masked gradients; what to say
  before."""

  trials: dict[str, Trial]
  rows: list[Row]
  comparisons: list[Comparison]
  notes: list[str]


def usable(members: dict[str, Attack], num_classes: int) -> tuple[dict[str, Attack], list[str]]:
  """Those of some attacks that are defined for a model of so many classes, and a note for each that
  is not."""
  found = {name: attack for name, attack in members.items() if attack.fewest_classes <= num_classes}
  notes = [f"left out: {name}, whose loss takes more classes than the model's {num_classes}; "
           "multi-targeted PGD tries them all" for name in members if name not in found]
  return found, notes


def run(plan: Plan, model: Model, split: datasets.Split, *, epsilon: float, seed: int = 0,
        batch_size: int = 200, folder: str | None = None, say: Callable[[str], None] = print,
        headings: Callable[[Record], Iterable[str]] = lambda record: (),
        line: Callable[[Row, Record], str] = lambda row, record: row.name) -> Record:
  """Runs every row of a plan.

  Args:
    plan: what to run.
    model, split, epsilon, seed, batch_size, folder: as for `Record`. As many examples as a batch
      has are lost when the run is killed; another one with the same folder goes on from there.
    say: called with each line of the report, as it is known.
    headings: the lines above the rows.
    line: the line of a row that has been run.

  Raises:
    UserError: the folder cannot be written, or another run has it.
  """
  alone = files.exclusive(folder, "record") if folder else contextlib.nullcontext()
  with alone, _interruptible(folder):
    record = Record(model, split, plan.trials, epsilon=epsilon, seed=seed, batch_size=batch_size,
                    folder=folder)
    for note in plan.notes:
      say(note)
    say(estimate.estimate(record, [row.trials for row in plan.rows]))
    for heading in headings(record):
      say(heading)
    for row in plan.rows:
      run_row(record, row, say)
      say(line(row, record))
  return record


def run_row(record: Record, row: Row, say: Callable[[str], None] = print) -> None:
  """Tries the attacks of a row in order, each on what stands against all of them as far as is
  known.

  After each batch the record is on disk.
  """
  names = row.trials
  for name in names:
    total = int((record.standing(*names) | record.tried(name)).sum())
    with Progress(total, name, say=say) as progress:
      while (left := record.standing(*names) & ~record.tried(name)).any():
        _try(record, name, np.flatnonzero(left)[:record.batch_size])
        progress.show(int(record.tried(name).sum()), accuracy=record.standing(*names).mean())


def _try(record, name, numbers):
  attack, restart, source = record.trials[name]
  natural, labels = datasets.as_float(record.split.images[numbers]), record.split.labels[numbers]
  key = seeds.key(seeds.key(record.seed, restart, "restart"), numbers[0], "evaluation")
  began = time.monotonic()
  found = attack(source or record.model, tf.constant(natural), tf.constant(labels),
                 seed=key).numpy()
  breaks = verify.is_adversarial(record.model, natural, found, labels, record.epsilon)
  record.add(name, numbers, found, breaks, time.monotonic() - began)


@contextlib.contextmanager
def _interruptible(folder):
  """Says, when a signal ends the block, that nothing is lost."""
  try:
    yield
  except (KeyboardInterrupt, SystemExit):
    if folder:
      print("stopped; the same command goes on from here", flush=True)
    raise
