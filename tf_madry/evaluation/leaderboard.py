"""The challenge's white-box leaderboard for any model: its standard rows, beside what it says of the secret model."""

import dataclasses
from typing import NamedTuple

from tf_madry import datasets
from tf_madry.attacks.pgd import FGSM, PGD
from tf_madry.attacks.standing import num_classes
from tf_madry.attacks.suite import Suite
from tf_madry.evaluation import attack_files, estimate, masking, measure, trials
from tf_madry.evaluation.suite import tell_left_out
from tf_madry.runtime import files
from tf_madry.runtime.text import duration, percent_interval

ALPHA = 0.01  # the challenge's step
LOSSES = {"xent": "cross-entropy", "cw": "CW loss"}
BLACK_BOX_STEPS = 40  # the challenge's config.json
AUTOATTACK = 0.8850  # on the secret model (Croce and Hein 2020)
HEADINGS = ("attack", "accuracy", "95 % interval", "secret model", "time")
TEXT = "{:<38}{:>9}  {:<18}  {:<30}{:>9}"


class Row(NamedTuple):
  """A row of the table: its name, the trials whose minimum it is, and the accuracy of the secret model beside it.

  `published_as` is the attack of that accuracy, where it is another one.
  """

  name: str
  trials: tuple
  published: float
  published_as: str = ""


@dataclasses.dataclass(frozen=True)
class Result:
  """The table: `rows` has an object for each row; `warnings` are signs of hidden gradients."""

  n: int
  epsilon: float
  natural_accuracy: float
  natural_interval: tuple
  rows: list
  warnings: list


def plan(epsilon, sources=(), *, num_classes=None, k=100, restarts=50, queries=5000):
  """What the table is made of; PGD-k is the first of its restarts, the suite takes over what other rows found.

  Args:
    epsilon: radius of the ball.
    sources: `LoadedModel`s for the black-box rows.
    num_classes: as for `Suite.members`.
    k, restarts, queries: the leaderboard's, unless it is to be quick.

  Returns:
    ({name: `trials.Trial`}, list of `Row`).
  """
  pgd = {loss: _restarts(PGD(epsilon=epsilon, k=k, alpha=ALPHA, loss=loss), restarts) for loss in LOSSES}
  fgsm = {f"FGSM, {loss}": trials.Trial(FGSM(epsilon=epsilon, loss=loss)) for loss in LOSSES}
  members = {name: trials.Trial(attack)
             for name, attack in Suite(epsilon=epsilon, k=k, queries=queries).members(num_classes).items()}
  transfer = {f"black-box PGD-{BLACK_BOX_STEPS}, source {number + 1}":
              trials.Trial(PGD(epsilon=epsilon, k=BLACK_BOX_STEPS, alpha=ALPHA), source=source.model)
              for number, source in enumerate(sources)}
  board = attack_files.WHITE_BOX
  rows = [Row(f"FGSM, {LOSSES[loss]}", (f"FGSM, {loss}",), board[f"FGSM, {LOSSES[loss]}"]) for loss in LOSSES]
  rows += [Row(f"PGD-{k}, {LOSSES[loss]}", tuple(pgd[loss])[:1], board[f"PGD-100, {LOSSES[loss]}"]) for loss in LOSSES]
  rows += [Row(f"PGD-{k}, {LOSSES[loss]}, {restarts} restarts", tuple(pgd[loss]),
               board[f"PGD-100, {LOSSES[loss]}, 50 restarts"]) for loss in LOSSES]
  rows += [Row("multi-targeted", ("multi-targeted",), board["MultiTargeted"]),
           Row("Square", ("Square",), board["Square"]),
           Row("suite", tuple(members), AUTOATTACK, "AutoAttack")]
  for name, source in zip(transfer, sources, strict=True):
    kind = "adversarially trained" if source.config.training.adversarial else "natural"
    rows.append(Row(name, (name,), attack_files.BLACK_BOX[f"PGD, {kind} model"], f"{kind} source"))
  if len(transfer) > 1:
    rows.append(Row(f"black-box PGD-{BLACK_BOX_STEPS}, all {len(transfer)} sources", tuple(transfer),
                    attack_files.BLACK_BOX["PGD, three adversarially trained copies"], "three copies"))
  attempts = fgsm | pgd["xent"] | pgd["cw"] | members | transfer
  rows.append(Row("all of the above", tuple(attempts), board["Guided Local Attack"], "Guided Local Attack"))
  return attempts, rows


def _restarts(attack, restarts):
  return {f"PGD, {attack.loss}, run {run}": trials.Trial(attack, run) for run in range(restarts)}


def run(loaded, split, epsilon, *, sources=(), batch_size=200, seed=0, folder, say=print, **quick):
  """Runs every row of the table; a row's accuracy is the minimum over its attacks, example by example.

  Args:
    loaded: `checkpoints.LoadedModel`.
    split: `datasets.Split`.
    epsilon: radius of the ball.
    sources: `LoadedModel`s to craft black-box attacks on.
    batch_size: examples at a time; as many are lost when the run is killed.
    seed: of the attacks.
    folder: where the record is kept that a run with the same weights, examples and settings goes on from.
    say: called with each line of the table, as it is known.
    **quick: smaller numbers for `plan`.

  Returns:
    `Result`.

  Raises:
    UserError: the folder cannot be written, or another run has it.
  """
  classes = num_classes(loaded.model, datasets.as_float(split.images[:1]))
  attempts, table = plan(epsilon, sources, num_classes=classes, **quick)
  with files.exclusive(folder, "record"), trials.interruptible():
    record = trials.Trials(loaded.model, split, attempts, epsilon=epsilon, seed=seed, batch_size=batch_size,
                           folder=folder)
    tell_left_out(attempts, classes, say)
    say(estimate.estimate(record, [row.trials for row in table]))
    say(TEXT.format(*HEADINGS))
    rows = []
    for row in table:
      record.run(*row.trials)
      accuracy = float(record.standing(*row.trials).mean())
      rows.append({"name": row.name, "accuracy": accuracy, "interval": measure.wilson(accuracy, len(split)),
                   "published": row.published, "published_as": row.published_as,
                   "seconds": record.seconds(*row.trials)})
      say(TEXT.format(*cells(rows[-1], len(split))))
  natural = float(record.right.mean())
  return Result(len(split), epsilon, natural, measure.wilson(natural, len(split)), rows,
                masking.signs(loaded.model, split, record.right, _comparisons(record, attempts)))


def _comparisons(record, attempts):
  restarts = [name for name in attempts if name.startswith("PGD, xent")]
  gradient = [name for name, trial in attempts.items() if isinstance(trial.attack, PGD) and not trial.source]
  transfer = [name for name, trial in attempts.items() if trial.source]
  yield masking.beyond(record, ["multi-targeted"], restarts,
                      "withstood PGD on cross-entropy and fell to multi-targeted PGD, which does without it")
  yield masking.beyond(record, ["Square"], [*gradient, "multi-targeted"],
                      "withstood the gradient attacks and fell to Square, which sees no gradient")
  if transfer:
    yield masking.beyond(record, transfer, restarts[:1],
                        "withstood PGD on the model itself and fell to PGD on another one")


def cells(row, n):
  """A row of `Result` as the five texts under `HEADINGS`."""
  published = f"{row['published']:.2%}" + (f" ({row['published_as']})" if row["published_as"] else "")
  return (row["name"], f"{row['accuracy']:.2%}", percent_interval(measure.wilson(row["accuracy"], n)), published,
          duration(row["seconds"]))


def lines(result):
  """The end of the report: what there is to say about a `Result`."""
  yield (f"natural accuracy {result.natural_accuracy:.2%}, ε = {result.epsilon:g}; secret model: as published, "
         f"n = 10,000, ε = {attack_files.EPSILON:g}; time: of all attacks of a row, compiling included")
  yield from masking.lines(result.warnings)


def markdown(result, heading):
  """A `Result` as a table in Markdown, between what it is about and `lines`."""
  yield heading
  yield ""
  yield f"| {' | '.join(HEADINGS)} |"
  yield "| --- | ---: | --- | --- | ---: |"
  for row in result.rows:
    yield f"| {' | '.join(cells(row, result.n))} |"
  yield ""
  yield from lines(result)


def write_markdown(path, result, heading):
  """Writes `markdown` to a file."""
  with files.output("markdown", path) as file:
    file.write("".join(f"{line}\n" for line in markdown(result, heading)).encode())
