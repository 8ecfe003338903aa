"""Running the suite on a trained model, attack by attack, with what it says on the way."""

import dataclasses

from tf_madry import datasets
from tf_madry.attacks.standing import num_classes
from tf_madry.evaluation import estimate, masking, measure, trials
from tf_madry.runtime import files
from tf_madry.runtime.text import duration, percent_interval

ROW = "{:<16}{:>10}{:>9}{:>10}  {:<19}{:>9}"


@dataclasses.dataclass(frozen=True)
class Result:
  """What the suite left standing of n examples. Accuracies are in [0, 1], intervals 95 % (Wilson).

  `members` has an object for each attack: how many examples it was tried on and broke, the accuracy under it and those
  before it, and its seconds. `warnings` are signs of hidden gradients.
  """

  attack: str
  n: int
  natural_accuracy: float
  natural_interval: tuple
  adversarial_accuracy: float
  adversarial_interval: tuple
  seconds: float
  members: list
  warnings: list


def run(loaded, suite, split, *, source=None, batch_size=200, seed=0, folder, say=print):
  """Runs the suite; accuracy is the share of examples that the model gets right under every one of its attacks.

  Args:
    loaded: `checkpoints.LoadedModel`.
    suite: `attacks.suite.Suite`.
    split: `datasets.Split`.
    source: the `LoadedModel` to craft on, when it is another one (black-box).
    batch_size: examples at a time; as many are lost when the run is killed.
    seed: of the attacks.
    folder: where the record is kept that a run with the same weights, examples and settings goes on from.
    say: called with each line of the report, as it is known.

  Returns:
    (`Result`, float32 array of adversarial images where the suite found one and natural images elsewhere).

  Raises:
    UserError: the folder cannot be written, or another run has it.
  """
  classes = num_classes(loaded.model, datasets.as_float(split.images[:1]))
  members = suite.members(classes)
  with files.exclusive(folder, "record"), trials.interruptible():
    record = trials.Trials(
        loaded.model, split, {name: trials.Trial(attack, source=source and source.model)
                              for name, attack in members.items()},
        epsilon=suite.epsilon, seed=seed, batch_size=batch_size, folder=folder)
    tell_left_out(members, classes, say)
    say(estimate.estimate(record, [list(members)]))
    say(ROW.format("attack", "attacked", "broken", "accuracy", "95 % interval", "time"))
    say(_row("natural", len(split), (~record.right).sum(), record.right.mean(), len(split), ""))
    rows = [_run_member(record, list(members)[:number + 1], say) for number in range(len(members))]
  standing = record.standing(*members)
  n, natural, adversarial = len(split), float(record.right.mean()), float(standing.mean())
  first, *others = gradient = [name for name in members if name != "Square"]
  warnings = [] if source else masking.signs(loaded.model, split, record.right, [
      masking.beyond(record, others, [first],
                    f"withstood APGD on cross-entropy and fell to {' or '.join(others)} PGD, on other losses"),
      masking.beyond(record, ["Square"], gradient,
                    "withstood the gradient attacks and fell to Square, which sees no gradient")])
  return Result(repr(suite), n, natural, measure.wilson(natural, n), adversarial, measure.wilson(adversarial, n),
                record.seconds(*members), rows, warnings), record.adversarial


def tell_left_out(members, num_classes, say):
  """Says so if `members` are not all of the suite, for a model that tells too few classes apart."""
  if "APGD-T" not in members:
    say(f"left out: APGD-T, whose loss takes more classes than the model's {num_classes}; multi-targeted PGD tries them all")


def _run_member(record, names, say):
  """Runs the last of `names`, on what stands against all of them."""
  name, before = names[-1], record.standing(*names[:-1])
  record.run(*names)
  row = {"name": name, "tried": int(before.sum()), "broken": int(record.broken(name).sum()),
         "accuracy": float(record.standing(*names).mean()), "seconds": record.seconds(name)}
  say(_row(name, row["tried"], row["broken"], row["accuracy"], len(before), duration(row["seconds"])))
  return row


def _row(name, tried, broken, accuracy, n, time):
  return ROW.format(name, f"{tried:,}", f"{broken:,}", f"{accuracy:.2%}", percent_interval(measure.wilson(accuracy, n)), time)


def lines(result):
  """The end of the report: a `Result` as lines of text."""
  interval = percent_interval(result.adversarial_interval)
  yield (f"under the suite: {result.adversarial_accuracy:.2%}  (95 % interval {interval}, n = {result.n:,}); "
         f"{duration(result.seconds)}, compiling included")
  yield "every example that counts as broken was verified in float32: within ε + 1e-6, in [0, 1], misclassified"
  yield from masking.lines(result.warnings)
