"""What `reload` concludes from known numbers."""

import pytest

from tests.helpers.studies import SETTINGS, reload_data, tiny
from tf_madry.studies import reload


@pytest.mark.parametrize(("by", "seen"), [
    # An age of up to 99 does no harm, a constant one of 48 does: it is neither.
    ({("constant", 0): 0.9, ("reload", 100): 0.89, ("constant", 48): 0.3, ("constant", 100): 0.1},
     [True, False, False, True]),
    ({("constant", 0): 0.9, ("reload", 100): 0.3, ("constant", 48): 0.3, ("constant", 100): 0.1},
     [False, True, False, False]),
    ({("constant", 0): 0.9, ("reload", 100): 0.1, ("constant", 48): 0.8, ("constant", 100): 0.1},
     [False, False, True, False]),
    ({("constant", 0): 0.9, ("reload", 10): 0.9, ("constant", 32): 0.9}, [None] * 4)])
def test_which_age_decides(by, seen):
  assert [claim.seen for claim in reload.findings(reload_data(by), SETTINGS).claims] == seen


def test_a_constant_staleness_stands_beside_each_reload():
  assert [reload.constant(every, (0, 16, 32, 48, 64, 128))
          for every in (1, 10, 32, 64, 100, 200)] == [0, 5, 16, 32, 48, 100]


def test_what_is_collected_has_the_ages_of_its_weights(tmp_path):
  data = reload.collect(tiny(tmp_path, r_list=(3,), s_list=(0, 1, 2)))
  assert [(row["kind"], row["value"], row["mean"], row["most"]) for row in data["final"]] == [
    ("constant", 0, 0, 0), ("constant", 1, 1, 1), ("constant", 2, 2, 2), ("reload", 3, 1, 2)]
  assert all(row["n"] == 6 and row["curve"][-1]["step"] == 3 for row in data["final"])
