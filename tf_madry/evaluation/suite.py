"""The suite on a trained model, attack by attack, with what it says on the way."""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from tf_madry import datasets
from tf_madry.attacks.base import Ensemble, Model, num_classes
from tf_madry.attacks.losses import score
from tf_madry.evaluation import accuracy, masking, runner
from tf_madry.evaluation.intervals import wilson
from tf_madry.evaluation.masking import Comparison
from tf_madry.evaluation.record import Record, Trial
from tf_madry.evaluation.runner import Plan, Row
from tf_madry.models.loading import LoadedModel
from tf_madry.runtime.text import duration, percent_interval

ROW = "{:<16}{:>10}{:>9}{:>10}  {:<19}{:>9}"


@dataclasses.dataclass(frozen=True)
class Result:
  """What the suite left standing of n examples. Accuracies are in [0, 1], intervals 95 % (Wilson).

  `members` has an object for each attack: how many examples it was tried on and broke, the accuracy
  under it and those before it, and its seconds. `warnings` are signs of masked gradients.
  """

  attack: str
  n: int
  natural_accuracy: float
  natural_interval: tuple[float, float]
  adversarial_accuracy: float
  adversarial_interval: tuple[float, float]
  seconds: float
  members: list[dict]
  warnings: list[str]


def plan(suite: Ensemble, num_classes: int, source: Model | None = None) -> Plan:
  """A row for each attack of an ensemble, with those before it, for a model of so many classes.

  Args:
    suite: the attacks.
    num_classes: how many classes the model tells apart; attacks that need more are left out.
    source: the model to craft on, when it is another one (black-box).
  """
  members, notes = runner.usable(suite.members(), num_classes)
  names = tuple(members)
  gradient = tuple(name for name in names if members[name].cost(num_classes).gradients)
  blind = tuple(name for name in names if name not in gradient)
  comparisons = [
      Comparison(gradient[1:], gradient[:1], "withstood APGD on cross-entropy and fell to "
                 f"{' or '.join(gradient[1:])} PGD, on other losses"),
      Comparison(blind, gradient,
                 f"withstood the gradient attacks and fell to {' or '.join(blind)}, "
                 "which sees no gradient")]
  return Plan({name: Trial(attack, source=source) for name, attack in members.items()},
              [Row(name, names[:number + 1]) for number, name in enumerate(names)], comparisons,
              notes)


def run(loaded: LoadedModel, suite: Ensemble, split: datasets.Split, *,
        source: LoadedModel | None = None,
        batch_size: int = 200, seed: int = 0, folder: str | None = None,
        say: Callable[[str], None] = print) -> tuple[Result, np.ndarray]:
  """Runs the suite; accuracy is the share of examples that the model gets right under every one of
  its attacks.

  Args:
    loaded: the model.
    suite: the attacks.
    split: the examples.
    source: the model to craft on, when it is another one (black-box).
    batch_size, seed, folder, say: as for `runner.run`.

  Returns:
    (`Result`, float32 array of adversarial images where the suite found one and natural images
    elsewhere).

  Raises:
    UserError: the folder cannot be written, or another run has it.
  """
  classes = num_classes(loaded.model, datasets.as_float(split.images[:1]))
  table = plan(suite, classes, source and source.model)
  record = runner.run(table, loaded.model, split, epsilon=suite.epsilon, seed=seed,
                      batch_size=batch_size, folder=folder, say=say, headings=_headings,
                      line=lambda row, record: _line(*_member(row, record)))
  members = [_member(row, record)[0] for row in table.rows]
  n, natural = len(split), float(record.right.mean())
  adversarial = float(record.standing(*table.trials).mean())
  warnings = [] if source else masking.signs(record, table.comparisons)
  return Result(repr(suite), n, natural, wilson(natural, n), adversarial, wilson(adversarial, n),
                record.seconds(*table.trials), members, warnings), record.adversarial


def evaluate(loaded: LoadedModel, suite: Ensemble, split: datasets.Split, *,
             source: LoadedModel | None = None, batch_size: int = 200,
             seed: int = 0) -> accuracy.Result:
  """As `run`, without a record and without a word, as a result like that of a single attack."""
  result, adversarial = run(loaded, suite, split, source=source, batch_size=batch_size, seed=seed,
                            say=lambda line: None)
  natural_loss, adversarial_loss = (
      float(np.concatenate([score(loaded.model, tf.constant(images[start:start + batch_size]),
                                  tf.constant(split.labels[start:start + batch_size]))[1]
                            for start in range(0, len(split), batch_size)]).mean(dtype=np.float64))
      for images in (datasets.as_float(split.images), adversarial))
  return accuracy.Result(result.attack, result.n, result.natural_accuracy, result.natural_interval,
                         natural_loss,
                         result.adversarial_accuracy, result.adversarial_interval, adversarial_loss,
                         result.seconds)


def lines(result: Result, name: str = "suite") -> Iterator[str]:
  """The end of the report: a `Result`, of the ensemble of that name, as lines of text."""
  under = "under the suite:" if name == "suite" else f"an upper bound, by {name}:"
  yield (f"{under} {result.adversarial_accuracy:.2%}  (95 % interval "
         f"{percent_interval(result.adversarial_interval)}, n = {result.n:,}); "
         f"{duration(result.seconds)}, compiling included")
  yield ("every example that counts as broken was verified in float32: within ε + 1e-6, in [0, 1], "
         "misclassified")
  yield from masking.lines(result.warnings)


def _headings(record: Record):
  yield ROW.format("attack", "attacked", "broken", "accuracy", "95 % interval", "time")
  n, natural = len(record.right), float(record.right.mean())
  yield ROW.format("natural", f"{n:,}", f"{(~record.right).sum():,}", f"{natural:.2%}",
                   percent_interval(wilson(natural, n)), "")


def _member(row: Row, record: Record):
  """(what `Result.members` says of the last attack of a row, number of examples)."""
  return {"name": row.name, "tried": int(record.standing(*row.trials[:-1]).sum()),
          "broken": int(record.broken(row.name).sum()),
          "accuracy": float(record.standing(*row.trials).mean()),
          "seconds": record.seconds(row.name)}, len(record.right)


def _line(member, n):
  return ROW.format(member["name"], f"{member['tried']:,}", f"{member['broken']:,}",
                    f"{member['accuracy']:.2%}",
                    percent_interval(wilson(member["accuracy"], n)), duration(member["seconds"]))
