"""Accuracy against ε: where masked gradients show first."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence

from tf_madry import datasets
from tf_madry.attacks.base import Attack, Ensemble
from tf_madry.evaluation import accuracy, masking, suite
from tf_madry.models.loading import LoadedModel
from tf_madry.runtime.text import duration, percent_interval

ROW = "{:<10}{:>10}  {:<19}{:>9}"
CLEARLY = 0.02  # by how much accuracy may rise with ε before it is a sign


@dataclasses.dataclass(frozen=True)
class Result:
  """Accuracies in [0, 1] under attacks of rising ε, intervals 95 % (Wilson).

  `points` has an object for each ε: `epsilon`, `attack`, `adversarial_accuracy`,
  `adversarial_interval` and `seconds`. `warnings` are signs of masked gradients.
  """

  n: int
  natural_accuracy: float
  natural_interval: tuple[float, float]
  points: list[dict]
  warnings: list[str]


def run(loaded: LoadedModel, make: Callable[[float], Attack | Ensemble], epsilons: Sequence[float],
        split: datasets.Split, *, source: LoadedModel | None = None, batch_size: int = 200,
        seed: int = 0, say: Callable[[str], None] = print) -> Result:
  """Runs an attack at every ε.

  Args:
    loaded: the model.
    make: builds the attack for an ε.
    epsilons: in rising order.
    split: the examples.
    source, batch_size, seed: as for `accuracy.run`.
    say: called with each line, as it is known.
  """
  say(ROW.format("ε", "accuracy", "95 % interval", "time"))
  points, found = [], None
  for epsilon in epsilons:
    attack = make(epsilon)
    evaluate = suite.evaluate if hasattr(attack, "members") else accuracy.run
    found = evaluate(loaded, attack, split, source=source, batch_size=batch_size, seed=seed)
    points.append({"epsilon": epsilon, "attack": found.attack, "seconds": found.seconds,
                   "adversarial_accuracy": found.adversarial_accuracy,
                   "adversarial_interval": found.adversarial_interval})
    say(ROW.format(f"{epsilon:g}", f"{found.adversarial_accuracy:.2%}",
                   percent_interval(found.adversarial_interval), duration(found.seconds)))
  return Result(found.n, found.natural_accuracy, found.natural_interval, points,
                list(_signs(points)))


def lines(result: Result) -> Iterator[str]:
  """The end of the report: a `Result` as lines of text."""
  yield (f"natural: {result.natural_accuracy:.2%}  (95 % interval "
         f"{percent_interval(result.natural_interval)}, n = {result.n:,})")
  yield from masking.lines(result.warnings)


def _signs(points):
  for before, after in itertools.pairwise(points):
    low, high = before["adversarial_accuracy"], after["adversarial_accuracy"]
    if high - low > CLEARLY:
      yield (f"accuracy rises from {low:.1%} at ε = {before['epsilon']:g} to {high:.1%} at "
             f"ε = {after['epsilon']:g}, whose ball holds the other one")
