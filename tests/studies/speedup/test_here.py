"""What is measured here stands beside what is simulated of it."""

from tests.helpers.studies import SETTINGS, speed_data
from tf_madry.studies import speedup


def test_measurements_stand_with_their_noise():
  found = speedup.findings(speed_data(), SETTINGS)
  local, cluster = found.tables[:2]
  assert [line[2] for line in local.rows] == ["64 (60–70)", "124 (120–128)", "95 (90–100)"]
  assert local.rows[1][6] == "68%" and local.rows[1][10] == 12
  # Against synchronous training here, on a cluster as well.
  assert cluster.rows[1][:6] == [2, "no", "105 (100–110)", "150", "+43%", "1.64"]
  assert [(line["cluster"], line["examples_per_second"])
          for line in found.records["speedup_measured"]] == [
    *((False, speed) for speed in (60, 64, 70, 120, 128, 90, 100)),
    *((True, speed) for speed in (80, 90, 100, 110))]
  assert found.records["speedup_measured"][3]["simulated"] == 120


def test_a_simulation_that_is_off_by_more_than_the_noise_is_not_seen_to_agree():
  data = speed_data()
  processes, cluster = speedup.here.claims(data)
  assert processes.seen and not cluster.seen and "to +43% of the medians" in cluster.evidence
  data["simulated"][0]["rate"] = 300 / 64
  assert not next(speedup.here.claims(data)).seen
