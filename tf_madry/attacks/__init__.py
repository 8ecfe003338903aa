"""Attacks in the ℓ∞ ball, by name. An attack is called as `attack(model, images, labels, seed=…)`."""

import dataclasses

from tf_madry.attacks.apgd import APGD, APGDT
from tf_madry.attacks.pgd import FGSM, PGD
from tf_madry.attacks.square import Square
from tf_madry.attacks.standing import Restarts
from tf_madry.attacks.suite import Suite
from tf_madry.attacks.targeted import MultiTargeted
from tf_madry.errors import require

ATTACKS = {"fgsm": FGSM, "pgd": PGD, "multitargeted": MultiTargeted, "apgd": APGD, "apgd_t": APGDT, "square": Square,
           "suite": Suite}
# The attacks whose settings are training's; of the others only ε is, the rest comes from their own papers.
OF_TRAINING = (FGSM, PGD)


def make(name, given, training, *, restarts=1):
  """Builds an attack by name.

  Args:
    name: in `ATTACKS`.
    given: {setting: value} that the attack must know.
    training: {setting: value} of the attack in training (`Config.judge`), where what was not given comes from.
    restarts: how often to run it on what still stands.

  Raises:
    UserError: an unknown attack, a setting that it does not have, a value out of range, or restarts of an attack without
      randomness.
  """
  require(name in ATTACKS, "attack", name, ", ".join(ATTACKS))
  kind = ATTACKS[name]
  known = [field.name for field in dataclasses.fields(kind)]
  unknown = [setting for setting in given if setting not in known]
  require(not unknown, f"setting of attack {name}", ", ".join(unknown), ", ".join(known))
  inherited = known if kind in OF_TRAINING else ["epsilon"]
  attack = kind(**{setting: value for setting, value in training.items() if setting in inherited} | given)
  return attack if restarts == 1 else Restarts(attack=attack, restarts=restarts)
