"""The challenge's white-box leaderboard for any model: its standard rows, beside what it says of
the secret model."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from tf_madry import datasets
from tf_madry.attacks import base
from tf_madry.attacks.glance import Glance
from tf_madry.attacks.pgd import FGSM, PGD
from tf_madry.attacks.restarts import Restarts
from tf_madry.attacks.suite import Suite
from tf_madry.evaluation import masking, published, runner
from tf_madry.evaluation.intervals import wilson
from tf_madry.evaluation.masking import Comparison
from tf_madry.evaluation.record import Record, Trial
from tf_madry.evaluation.runner import Plan, Row
from tf_madry.models.loading import LoadedModel
from tf_madry.runtime import files
from tf_madry.runtime.text import duration, percent_interval

ALPHA = 0.01  # the challenge's step
LOSSES = {"xent": "cross-entropy", "cw": "CW loss"}
BLACK_BOX_STEPS = 40  # the challenge's config.json
HEADINGS = ("attack", "accuracy", "95 % interval", "secret model", "time")
TEXT = "{:<38}{:>9}  {:<18}  {:<30}{:>9}"


class Published(NamedTuple):
  """The accuracy of the secret model beside a row, and of which attack it is where that is another
  one."""

  accuracy: float
  attack: str = ""


@dataclasses.dataclass(frozen=True)
class Result:
  """The table: `rows` has an object for each row; `warnings` are signs of masked gradients."""

  n: int
  epsilon: float
  natural_accuracy: float
  natural_interval: tuple[float, float]
  rows: list[dict]
  warnings: list[str]


def plan(epsilon: float, sources: Sequence[LoadedModel] = (), *, num_classes: int = 10,
         k: int = 100, restarts: int = 50, queries: int = 5000) -> tuple[Plan, list[Published]]:
  """What the table is made of; PGD-k is the first of its restarts, of which the others try only
  examples that come near to falling; the suite takes over what other rows found.

  Args:
    epsilon: radius of the ball.
    sources: models for the black-box rows.
    num_classes: how many classes the model tells apart.
    k, restarts, queries: the leaderboard's, unless it is to be quick.

  Returns:
    (the plan, what stands beside each of its rows).
  """
  pgd = {}
  for loss in LOSSES:
    attack = PGD(epsilon=epsilon, k=k, alpha=ALPHA, loss=loss)
    others = Glance(attacks=(Restarts(attack=attack, restarts=restarts - 1),))
    pgd[loss] = {f"PGD, {loss}": Trial(attack), f"PGD, {loss}, restarts": Trial(others, restart=1)}
  fgsm = {f"FGSM, {loss}": Trial(FGSM(epsilon=epsilon, loss=loss)) for loss in LOSSES}
  suite = Suite(epsilon=epsilon, k=k, queries=queries)
  usable, notes = runner.usable(suite.members(), num_classes)
  members = {name: Trial(attack) for name, attack in usable.items()}
  transfer = {f"black-box PGD-{BLACK_BOX_STEPS}, source {number + 1}":
              Trial(PGD(epsilon=epsilon, k=BLACK_BOX_STEPS, alpha=ALPHA), source=source.model)
              for number, source in enumerate(sources)}
  trials = fgsm | pgd["xent"] | pgd["cw"] | members | transfer

  board, rows = published.WHITE_BOX, []
  for loss, text in LOSSES.items():
    rows.append((Row(f"FGSM, {text}", (f"FGSM, {loss}",)), Published(board[f"FGSM, {text}"])))
  for loss, text in LOSSES.items():
    rows.append((Row(f"PGD-{k}, {text}", tuple(pgd[loss])[:1]),
                 Published(board[f"PGD-100, {text}"])))
  for loss, text in LOSSES.items():
    rows.append((Row(f"PGD-{k}, {text}, {restarts} restarts", tuple(pgd[loss])),
                 Published(board[f"PGD-100, {text}, 50 restarts"])))
  rows += [(Row("multi-targeted", ("multi-targeted",)), Published(board["MultiTargeted"])),
           (Row("Square", ("Square",)), Published(board["Square"])),
           (Row("suite", tuple(members)), Published(published.AUTOATTACK, "AutoAttack"))]
  for name, source in zip(transfer, sources, strict=True):
    kind = "adversarially trained" if source.config.training.adversarial else "natural"
    rows.append((Row(name, (name,)),
                 Published(published.BLACK_BOX[f"PGD, {kind} model"], f"{kind} source")))
  if len(transfer) > 1:
    rows.append((Row(f"black-box PGD-{BLACK_BOX_STEPS}, all {len(transfer)} sources",
                     tuple(transfer)),
                 Published(published.BLACK_BOX["PGD, three adversarially trained copies"],
                           "three copies")))
  rows.append((Row("all of the above", tuple(trials)),
               Published(board["Guided Local Attack"], "Guided Local Attack")))

  comparisons = [
      Comparison(("multi-targeted",), tuple(pgd["xent"]),
                 "withstood PGD on cross-entropy and fell to multi-targeted PGD, which does "
                 "without it"),
      Comparison(("Square",), (*pgd["xent"], *pgd["cw"], "multi-targeted"),
                 "withstood the gradient attacks and fell to Square, which sees no gradient")]
  if transfer:
    comparisons.append(Comparison(tuple(transfer), tuple(pgd["xent"])[:1],
                                  "withstood PGD on the model itself and fell to PGD on another "
                                  "one"))
  return Plan(trials, [row for row, _ in rows], comparisons, notes), [beside for _, beside in rows]


def run(loaded: LoadedModel, split: datasets.Split, epsilon: float, *,
        sources: Sequence[LoadedModel] = (), batch_size: int = 200, seed: int = 0,
        folder: str | None, say: Callable[[str], None] = print,
        **quick: int) -> Result:
  """Runs every row of the table; a row's accuracy is the minimum over its attacks, example by
  example.

  Args:
    loaded: the model.
    split: the examples.
    epsilon: radius of the ball.
    sources: models to craft black-box attacks on.
    batch_size, seed, folder, say: as for `runner.run`.
    **quick: smaller numbers for `plan`.

  Raises:
    UserError: the folder cannot be written, or another run has it.
  """
  classes = base.num_classes(loaded.model, datasets.as_float(split.images[:1]))
  table, beside = plan(epsilon, sources, num_classes=classes, **quick)
  beside = dict(zip(table.rows, beside, strict=True))

  rows = []

  def line(row: Row, record: Record):
    accuracy = float(record.standing(*row.trials).mean())
    rows.append({"name": row.name, "accuracy": accuracy, "interval": wilson(accuracy, len(split)),
                 "published": beside[row].accuracy, "published_as": beside[row].attack,
                 "seconds": record.seconds(*row.trials)})
    return TEXT.format(*cells(rows[-1]))

  record = runner.run(table, loaded.model, split, epsilon=epsilon, seed=seed, batch_size=batch_size,
                      folder=folder,
                      say=say, headings=lambda record: [TEXT.format(*HEADINGS)], line=line)
  natural = float(record.right.mean())
  return Result(len(split), epsilon, natural, wilson(natural, len(split)), rows,
                masking.signs(record, table.comparisons))


def cells(row: dict) -> tuple[str, ...]:
  """A row of `Result` as the five texts under `HEADINGS`."""
  published_as = f" ({row['published_as']})" if row["published_as"] else ""
  return (row["name"], f"{row['accuracy']:.2%}", percent_interval(row["interval"]),
          f"{row['published']:.2%}{published_as}", duration(row["seconds"]))


def lines(result: Result) -> Iterator[str]:
  """The end of the report: what there is to say about a `Result`."""
  yield (f"natural accuracy {result.natural_accuracy:.2%}, ε = {result.epsilon:g}; secret model: as "
         f"published, n = 10,000, ε = {published.EPSILON:g}; time: of all attacks of a row, "
         "compiling included; restarts and the suite go on where a few steps bring an example near "
         "to falling")
  yield from masking.lines(result.warnings)


def markdown(result: Result, heading: str) -> Iterator[str]:
  """A `Result` as a table in Markdown, between what it is about and `lines`."""
  yield heading
  yield ""
  yield f"| {' | '.join(HEADINGS)} |"
  yield "| --- | ---: | --- | --- | ---: |"
  for row in result.rows:
    yield f"| {' | '.join(cells(row))} |"
  yield ""
  yield from lines(result)


def write_markdown(path: str, result: Result, heading: str) -> None:
  """Writes `markdown` to a file."""
  with files.output("markdown", path) as file:
    file.write("".join(f"{line}\n" for line in markdown(result, heading)).encode())
