"""Attacks in the ℓ∞ ball, by name.

An attack is called as `attack(model, images, labels, seed=…)`.
"""

import dataclasses
from typing import Any

from tf_madry.attacks.apgd import APGD, APGDT
from tf_madry.attacks.base import Attack, Ensemble, Model
from tf_madry.attacks.pgd import FGSM, PGD
from tf_madry.attacks.restarts import Restarts
from tf_madry.attacks.square import Square
from tf_madry.attacks.suite import Quick, Suite
from tf_madry.attacks.targeted import MultiTargeted
from tf_madry.errors import require

ATTACKS = {"fgsm": FGSM, "pgd": PGD, "multitargeted": MultiTargeted, "apgd": APGD, "apgd_t": APGDT,
           "square": Square}
ENSEMBLES = {"suite": Suite, "quick": Quick}
# The attacks whose settings are training's; of the others only ε is, the rest comes from their own
# papers.
OF_TRAINING = (FGSM, PGD)


def make(name: str, given: dict[str, Any], training: dict[str, Any], *, restarts: int = 1,
         target: Model | None = None) -> Attack | Ensemble:
  """Builds an attack or an ensemble by name.

  Args:
    name: in `ATTACKS` or `ENSEMBLES`.
    given: {setting: value} that the attack must know.
    training: {setting: value} of the attack in training (`Config.evaluation_attack`), where what
      was not given comes from.
    restarts: how often to run it on what still stands.
    target: as in `Restarts`.

  Raises:
    UserError: an unknown attack, a setting that it does not have, a value out of range, or restarts
      of an attack without randomness or of an ensemble.
  """
  kinds = ATTACKS | ENSEMBLES
  require(name in kinds, "attack", name, ", ".join(kinds))
  require(restarts == 1 or name in ATTACKS, "restarts", restarts, f"1 with --attack {name}")
  kind = kinds[name]
  known = [field.name for field in dataclasses.fields(kind)]
  unknown = [setting for setting in given if setting not in known]
  require(not unknown, f"setting of attack {name}", ", ".join(unknown), ", ".join(known))
  inherited = known if kind in OF_TRAINING else ["epsilon"]
  attack = kind(**{setting: value
                   for setting, value in training.items() if setting in inherited} | given)
  return attack if restarts == 1 else Restarts(attack=attack, restarts=restarts, target=target)
