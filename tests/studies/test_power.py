"""What `power` concludes from known numbers, and that what it collects is collected once."""

import pytest

from tests.helpers.studies import SETTINGS, power_data, tiny
from tf_madry.evaluation import accuracy
from tf_madry.studies import power, transfer
from tf_madry.training import loop

BALANCE = ("κ = 8 is the balance point: stronger attackers in training make nothing more robust,")


def verdicts(k_list, adversarial):
  claims = power.findings(power_data(k_list, adversarial), SETTINGS | {"k_list": k_list}).claims
  return {claim.claim: claim.seen for claim in claims}


def paper(k, attacker):
  if k >= 8:
    return 0.91
  return 0.985 if attacker == k else 0.95 if k == 4 and attacker < 4 else 0.02


def test_the_papers_numbers_give_the_papers_verdicts():
  said = verdicts((1, 4, 8, 128), paper)
  assert set(said.values()) == {True} and len(said) == 11


def test_a_network_that_stands_is_not_called_broken_and_equal_is_not_what_cannot_be_told_apart():
  said = verdicts((4, 8, 32), lambda k, attacker: {4: 0.9, 8: 0.94, 32: 0.95}[k])
  assert said["The network with κ = 4 is not robust to κ = 128."] is False
  assert said["The network with κ = 4 reaches near 100 % on test images under κ = 4 (Figures 4c, "
              "4d)."] is False
  assert said["In the network with κ = 4 a stronger attacker does worse than a weaker one (Figure "
              "4d)."] is False
  assert said[BALANCE] is True
  assert said["… and weaker ones make networks less robust (κ = 4)."] is True
  better = verdicts((8, 32), lambda k, attacker: {8: 0.9, 32: 0.95}[k])
  assert better[BALANCE] is False
  near = verdicts((8, 32), lambda k, attacker: {8: 0.9, 32: 0.92}[k])
  assert near[BALANCE] is None


def test_what_was_not_trained_was_not_tested():
  found = power.findings(power_data((1, 8)), SETTINGS | {"k_list": (1, 8)})
  seen = {claim.claim: claim.seen for claim in found.claims}
  assert seen["Networks with κ = 16 to 128 are robust to all attackers,"] is None
  assert seen["… and weaker ones make networks less robust (κ = 4)."] is None
  assert any("κ = 2, 4, 16, 32, 64, 128: what the paper says of them is not tested" in note
             for note in found.notes)


def test_networks_and_measurements_are_made_once(tmp_path, monkeypatch):
  first = tiny(tmp_path)
  data = power.collect(first)
  assert len(data["curves"]) == 2 * 2 * 2  # networks, splits, attackers
  assert [(row["k"], row["attacker"], row["n"]) for row in data["final"]] == [
    (k, attacker, 3 if attacker == 128 else 6) for k in (1, 2) for attacker in (1, 2, 128)]

  def forbidden(*_, **__):
    raise AssertionError("it was done already")

  monkeypatch.setattr(loop, "train", forbidden)
  cells = transfer.collect(tiny(tmp_path))["cells"]  # of the same networks
  by = {(row["k"], row["attacker"]): row for row in data["final"]}
  assert [cell["right"] for cell in cells
          if cell["source"] == cell["target"]] == [by[k, k]["right"] for k in (1, 2)]
  monkeypatch.setattr(accuracy, "evaluate", forbidden)
  again = tiny(tmp_path)
  assert power.collect(again) == data
  assert again.seconds == pytest.approx(first.seconds)
