"""Attacks in the ℓ∞ ball, by name. An attack is called as `attack(model, images, labels, seed=…)`."""

import dataclasses

from tf_madry.attacks.apgd import APGD, APGDT
from tf_madry.attacks.pgd import FGSM, PGD
from tf_madry.attacks.standing import Restarts
from tf_madry.attacks.targeted import MultiTargeted
from tf_madry.errors import require

ATTACKS = {"fgsm": FGSM, "pgd": PGD, "multitargeted": MultiTargeted, "apgd": APGD, "apgd_t": APGDT}


def make(name, given, defaults, *, restarts=1):
  """Builds an attack by name.

  Args:
    name: in `ATTACKS`.
    given: {setting: value} that the attack must know.
    defaults: {setting: value} for those that were not given; what the attack does not know is left aside.
    restarts: how often to run it on what still stands.

  Raises:
    UserError: an unknown attack, a setting that it does not have, or a value out of range.
  """
  require(name in ATTACKS, "attack", name, ", ".join(ATTACKS))
  known = [field.name for field in dataclasses.fields(ATTACKS[name])]
  unknown = [setting for setting in given if setting not in known]
  require(not unknown, f"setting of attack {name}", ", ".join(unknown), ", ".join(known))
  attack = ATTACKS[name](**{setting: value for setting, value in (defaults | given).items() if setting in known})
  return attack if restarts == 1 else Restarts(attack=attack, restarts=restarts)
