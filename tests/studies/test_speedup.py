"""What `speedup` concludes from known costs and measurements."""

import pytest

from tests.helpers.studies import SETTINGS, speed_data
from tf_madry.studies import speedup


def test_speed_up_saturates_at_the_ratio_of_the_costs():
  data = speed_data()
  found = speedup.findings(data, SETTINGS)
  # At the paper's own ratio 2 GPUs are far from 2×, and 7 and 8 near 7× and 8×: the paper's are
  # not.
  assert found.tables[-1].rows == [[2, "slightly worse than 2", "1.12", "2.00"],
                                   [7, "nearly 5", "6.75", "7.01"],
                                   [8, "over 5", "7.88", "8.01"]]
  by = {(row["workers"], row["assist"]): row["speedup"] for row in data["devices"]}
  assert by[64, True] == pytest.approx(9) and by[1, False] == pytest.approx(9 / 8, rel=1e-3)


def test_what_is_only_simulated_is_no_verdict_and_what_is_measured_is():
  claims = speedup.findings(speed_data(), SETTINGS).claims
  assert [claim.seen for claim in claims] == [None, True, None, None, None, True]
  assert claims[0].evidence.startswith("only simulated")
  data = speed_data()
  data["here"][0]["rate"] = 300 / 64
  assert speedup.findings(data, SETTINGS).claims[-1].seen is False


def test_measurements_stand_with_their_noise():
  found = speedup.findings(speed_data(), SETTINGS)
  assert [line[2] for line in found.tables[0].rows] == ["64 (60–70)", "124 (120–128)",
                                                        "95 (90–100)"]
  assert found.tables[0].rows[1][6] == "68%"
  assert [line["examples_per_second"] for line in found.records["speedup_measured"]] == [60, 64, 70,
                                                                                         120, 128,
                                                                                         90, 100]
  assert found.records["speedup_measured"][3]["simulated"] == 120
