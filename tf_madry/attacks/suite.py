"""The suite: the strongest attacks one after another, each on what the ones before it left
standing."""

import dataclasses

from tf_madry.attacks.apgd import APGD, APGDT
from tf_madry.attacks.base import Attack
from tf_madry.attacks.square import Square
from tf_madry.attacks.targeted import MultiTargeted


@dataclasses.dataclass(frozen=True, kw_only=True)
class Suite:
  """Three gradient attacks and one without gradients, built like AutoAttack (Croce and Hein 2020).

  Multi-targeted PGD, which holds a better place on the challenge's leaderboard, stands where
  AutoAttack has FAB. It is a list; `evaluation.suite` runs it.

  Attributes:
    epsilon: radius of the ball, in units of the pixel range.
    k: steps of each gradient attack.
    queries: of Square.
  """

  epsilon: float = 0.3
  k: int = 100
  queries: int = 5000

  def __post_init__(self):
    self.members()

  def members(self) -> dict[str, Attack]:
    """{name: attack}, in the order in which they run."""
    size = {"epsilon": self.epsilon, "k": self.k}
    return {"APGD-CE": APGD(**size), "APGD-T": APGDT(**size),
            "multi-targeted": MultiTargeted(**size),
            "Square": Square(epsilon=self.epsilon, queries=self.queries)}
