"""The recipes: sets of settings by name. Another one is another entry here."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class PartOfEpsilon:
  """A step α that is `alpha` at this `epsilon`, and as large a part of any other one."""

  alpha: float
  epsilon: float = 0.3

  def of(self, epsilon: float) -> float:
    """α for this ε; where the ball is a point, any will do."""
    return self.alpha / self.epsilon * epsilon if epsilon else self.alpha


# {name: {field of the config: value}}; what a recipe does not name is the paper's.
RECIPES = {
    # §6 of the paper.
    "paper": {
        "adversarial": True, "k": 8, "epsilon": 0.3, "alpha": None, "random_start": True,
        "loss": "xent", "steps": 60_000, "batch_size": 128, "learning_rate": 1e-4,
        "reduction": "mean"},
    # The same method in a tenth of its steps: weights and rates that get off the ground at once.
    "quick": {
        "adversarial": True, "k": 8, "epsilon": 0.3, "alpha": None, "random_start": True,
        "loss": "xent", "ramp": 0.1, "steps": 6_000, "batch_size": 128, "learning_rate": 1e-3,
        "schedule": "linear", "reduction": "mean", "initialization": "he", "precision": None},
    # The challenge's config.json.
    "challenge": {
        "adversarial": True, "k": 40, "epsilon": 0.3, "alpha": PartOfEpsilon(0.01),
        "random_start": True, "loss": "xent", "steps": 100_000, "batch_size": 50,
        "learning_rate": 1e-4, "reduction": "sum", "seed": 4557077},
    # Robust in minutes on a CPU: every gradient serves attack and weights (`training/replay.py`).
    "fast": {
        "adversarial": True, "k": 3, "epsilon": 0.3, "alpha": PartOfEpsilon(0.2),
        "random_start": False, "loss": "xent", "replay": True, "lead": 1, "candidates": 3,
        "ramp": 0.05, "margin": 1.08, "shift": 2, "averaging": 0.999, "steps": 7_000,
        "batch_size": 32, "learning_rate": 1e-3, "reduction": "mean",
        "initialization": "threshold", "precision": None},
    # Interval bounds in place of attacks: what it reaches is a proof (`training/bounds.py`).
    "certified": {
        "adversarial": True, "k": 8, "epsilon": 0.3, "alpha": None, "random_start": True,
        "loss": "xent", "bounds": True, "ramp": 0.42, "averaging": 0.995, "steps": 7_000,
        "batch_size": 128, "learning_rate": 5e-3, "schedule": "late", "reduction": "mean",
        "initialization": "interval", "precision": None},
    # On the images as they are (Eq. 1).
    "natural": {
        "adversarial": False, "steps": 60_000, "batch_size": 128, "learning_rate": 1e-3,
        "reduction": "mean"},
}
# `quick` for more steps than that. What a network learns by heart costs it robustness: where images
# stay as they are, and where the rate falls (Rice et al. 2020), in place of which the weights are
# averaged here, over the last tenth of a run or so. Of 5,000 validation images, under
# `attacks.suite.Quick`: 6,769 steps on moving images at a falling rate leave 92.3 %, in a ball of
# 1.08 ε and with a short average 93.0, and 6,079 steps at a rate that stays 93.7. Square, which
# `Quick` hardly tries, takes most of that back: under the suite the first of them has 91.4 % (n =
# 1,000 test images), the last 91.6 (n = 4,000).
RECIPES["long"] = RECIPES["quick"] | {
    "shift": 2, "margin": 1.08, "averaging": 0.999, "schedule": "constant", "steps": 13_000}

# Minutes from which on `long`, whose steps cost more, makes the more robust networks. Of the same
# images, `fast` leaves 93.4 % after 7,700 steps, as many as four minutes make on two cores of a Xeon
# (AMX_BF16); there 6,079 of `long` take nine.
ENOUGH = 7


def within(minutes: float, *, paper: bool = False) -> str:
  """The recipe for the most robust network that so many minutes of a CPU make.

  Args:
    minutes: of training.
    paper: whether it has to be the paper's method, as for an attack of one's own, or for images
      other than MNIST's, whose pixels may not be black or white.
  """
  if paper:
    return "quick"
  return "fast" if minutes < ENOUGH else "long"
