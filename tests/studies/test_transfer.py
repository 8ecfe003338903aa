"""What `transfer` concludes from known numbers."""

import pytest

from tests.helpers.studies import SETTINGS, paper_cells, row
from tf_madry.studies import transfer

# Table 1 row by row, as printed.
TABLE_1 = """98.55% 48.63% 27.16% 28.36%
57.34% 99.98% 54.18% 60.31%
96.40% 97.27% 93.88% 94.26%
96.28% 96.69% 93.92% 91.70%"""


def test_the_papers_table_shows_gradient_shattering_where_the_paper_says():
  k_list = (1, 4, 8, 128)
  printed = [[float(cell[:-1]) / 100 for cell in line.split()] for line in TABLE_1.splitlines()]
  assert [[transfer.PAPER[target][source] for source in k_list] for target in k_list] == [
    pytest.approx(line) for line in printed]
  assert transfer.shattered(paper_cells()["cells"]) == {(target, source) for target in (1, 4)
                                                        for source in k_list}
  found = transfer.findings(paper_cells(), SETTINGS | {"k_list": k_list})
  assert [claim.seen for claim in found.claims] == [True] * 6
  assert found.tables[0].rows[0][1].endswith(" (98.55%)**")


@pytest.mark.parametrize(("k_list", "seen"),
                         [((1, 4, 8), [True, True, True, True, True, None]),
                          ((1, 8), [True, True, None, None, True, None])])
def test_what_was_not_trained_was_not_tested(k_list, seen):
  cells = [cell for cell in paper_cells()["cells"]
           if {cell["target"], cell["source"]} <= set(k_list)]
  found = transfer.findings({"cells": cells}, SETTINGS | {"k_list": k_list})
  assert [claim.seen for claim in found.claims] == seen
  assert any("128: what the paper says of them is not tested" in note for note in found.notes)


@pytest.mark.parametrize(("black_box", "marked"), [(0.92, False), (0.8, True), (0.98, False)])
def test_a_little_less_than_white_box_is_no_shattering(black_box, marked):
  cells = [{"target": target, "source": source, "attack_k": target,
            **row(0.93 if source == target else black_box)}
           for target in (8, 32) for source in (8, 32)]
  assert bool(transfer.shattered(cells)) is marked


def test_shattered_gradients_need_not_mean_that_others_break_a_network():
  cells = [{"target": target, "source": source, "attack_k": target,
            **row(0.95 if source == target else 0.9)} for target in (1, 8) for source in (1, 8)]
  claims = transfer.findings({"cells": cells}, SETTINGS | {"k_list": (1, 8)}).claims
  assert [claim.seen for claim in claims[:2]] == [True, False]
