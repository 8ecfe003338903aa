"""Ensembles: attacks one after another, each on what the ones before it left standing.

They are lists; `evaluation.suite` runs them.
"""

import dataclasses

from tf_madry.attacks.apgd import APGD, APGDT
from tf_madry.attacks.base import Attack, check_patience
from tf_madry.attacks.glance import Glance
from tf_madry.attacks.square import Square
from tf_madry.attacks.targeted import MultiTargeted


@dataclasses.dataclass(frozen=True, kw_only=True)
class Suite:
  """Three gradient attacks and one without gradients, built like AutoAttack (Croce and Hein 2020).

  Multi-targeted PGD, which holds a better place on the challenge's leaderboard, stands where
  AutoAttack has FAB. Of 1,000 images of `pretrained/paper` it leaves 90.5 % in 197 s of a core's time
  (Xeon, AMX_BF16); AutoAttack's APGD-CE and APGD-T take over 600 s and leave 90.6 %; its Square
  finds nothing in the first 200 of these, and the rest, and its FAB, were not waited for.

  Attributes:
    epsilon: radius of the ball, in units of the pixel range.
    k: steps of each gradient attack.
    queries: of Square.
    patience: when APGD on cross-entropy and Square give an example up, as in `apgd.ascend` and
      `Square`: most of the time would go into examples that no attack comes near to. None: never.
    scout: steps that tell which of the likeliest classes the targeted attacks try, as in
      `targeted.towards_each`, for the same reason. None: APGD-T tries all of these,
      multi-targeted PGD all there are.
  """

  epsilon: float = 0.3
  k: int = 100
  queries: int = 5000
  patience: float | None = 2.0
  scout: int | None = 5

  def __post_init__(self):
    check_patience(self.patience)
    self.members()

  def members(self) -> dict[str, Attack]:
    """{name: attack}, in the order in which they run."""
    size, patience = {"epsilon": self.epsilon, "k": self.k}, {"patience": self.patience}
    return {"APGD-CE": APGD(**size, **patience), "APGD-T": APGDT(**size, scout=self.scout),
            "multi-targeted": MultiTargeted(**size, targets=self.scout and APGDT.targets,
                                            scout=self.scout),
            "Square": Square(epsilon=self.epsilon, queries=self.queries, **patience)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quick:
  """A cheap look, in a ninth of the suite's time: what it leaves standing is an upper bound.

  It goes without Square's thousands of queries, and without a search where PGD does not come near.
  Of 1,000 test images the suite and it leave 90.5 and 90.7 % (`pretrained/paper`), 89.0 and 89.7
  (`--recipe certified --minutes 4`), 89.6 and 90.0 (`fast` at a rate that fell), 91.2 and 92.3
  (`long` at one, of which Square alone breaks 0.6). Where the rate stayed, Square breaks more, which
  this look mostly misses: of 2,000 test images they leave 90.0 and 92.2 % (`fast`, 8,165 steps),
  92.0 and 93.5 (`long`). Of 1,000 validation images, on which its steps were chosen, they leave
  18.9 and 19.2 % of 600 steps of `quick`, where so much is near that it takes a quarter of the
  suite's time.

  Attributes:
    epsilon: radius of the ball, in units of the pixel range.
  """

  epsilon: float = 0.3

  def members(self) -> dict[str, Attack]:
    """{name: attack}, in the order in which they run."""
    size = {"epsilon": self.epsilon}
    return {"glance": Glance(attacks=(APGD(**size, patience=2.0),
                                      MultiTargeted(**size, targets=5, scout=3))),
            "Square": Square(**size, queries=10)}
