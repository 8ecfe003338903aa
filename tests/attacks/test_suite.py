"""The lists of attacks."""

import pytest

from tf_madry.attacks import Quick, Suite
from tf_madry.errors import UserError


def test_in_full_no_attack_gives_anything_up():
  members = Suite(patience=None, scout=None).members()
  # What records of it are known by.
  assert {name: repr(attack) for name, attack in members.items()} == {
      "APGD-CE": "APGD(loss='xent', k=100, epsilon=0.3, rho=0.75)",
      "APGD-T": "APGDT(k=100, epsilon=0.3, rho=0.75, targets=9)",
      "multi-targeted": "MultiTargeted(k=100, epsilon=0.3, alpha=None)",
      "Square": "Square(queries=5000, epsilon=0.3, p_init=0.8)"}


def test_each_list_costs_a_fraction_of_the_one_before():
  """A gradient, forwards and backwards, counts as two forward passes."""
  full, suite, quick = (
      sum(2 * cost.gradients + cost.forwards
          for cost in (attack.cost(10) for attack in ensemble.members().values()))
      for ensemble in (Suite(patience=None, scout=None), Suite(), Quick()))
  assert suite < full / 6 and quick < suite / 10


def test_of_many_classes_only_the_likeliest_are_scouted():
  costs = [Suite().members()["multi-targeted"].cost(classes) for classes in (10, 1000)]
  assert costs[0] == costs[1]


@pytest.mark.parametrize(("settings", "words"), [
    ({"scout": 0}, "scout is 0"), ({"patience": 0.0}, "patience is 0.0"), ({"k": 0}, "k is 0"),
    ({"epsilon": 2.0}, "epsilon is 2.0")])
def test_bad_settings_are_named(settings, words):
  with pytest.raises(UserError, match=words):
    Suite(**settings)
