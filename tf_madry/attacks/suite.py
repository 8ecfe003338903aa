"""The suite: the strongest attacks one after another, each on what the ones before it left standing."""

import dataclasses
import functools

from tf_madry.attacks.apgd import APGD, APGDT
from tf_madry.attacks.losses import FEWEST_CLASSES
from tf_madry.attacks.square import Square
from tf_madry.attacks.standing import in_turn, num_classes
from tf_madry.attacks.targeted import MultiTargeted
from tf_madry.runtime import seeds


@dataclasses.dataclass(frozen=True, kw_only=True)
class Suite:
  """Three gradient attacks and one without gradients, built like AutoAttack (Croce and Hein 2020).

  Multi-targeted PGD, which holds a better place on the challenge's leaderboard, stands where AutoAttack has FAB.

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

  def members(self, num_classes=None):
    """{name: attack}, in the order in which they run, for a model that tells `num_classes` apart (None: enough for all).

    APGD-T, whose loss takes four, is left out for fewer; multi-targeted PGD tries the same classes.
    """
    size = {"epsilon": self.epsilon, "k": self.k}
    members = {"APGD-CE": APGD(**size), "APGD-T": APGDT(**size), "multi-targeted": MultiTargeted(**size),
               "Square": Square(epsilon=self.epsilon, queries=self.queries)}
    if num_classes is not None and num_classes < FEWEST_CLASSES["targeted_dlr"]:
      del members["APGD-T"]
    return members

  def __call__(self, model, images, labels, *, seed=0):
    """Returns float32 adversarial images of the shape of `images`; `seed` as in `seeds.key`."""
    members = self.members(num_classes(model, images))
    return in_turn(model, images, labels,
                   (functools.partial(attack, model, seed=seeds.key(seed, number, "restart"))
                    for number, attack in enumerate(members.values())))
