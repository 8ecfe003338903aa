"""The study as a whole."""

from tests.helpers.studies import SETTINGS, speed_data, tiny
from tf_madry.benchmark import cluster as handing_over
from tf_madry.benchmark import runs
from tf_madry.studies import speedup
from tf_madry.studies.lab import costs


def test_only_what_is_measured_is_a_verdict():
  claims = speedup.findings(speed_data(), SETTINGS).claims
  assert [claim.seen for claim in claims] == [None, True, None, None, None, True, False, None]
  for claim in claims:
    assert claim.seen is not None or claim.evidence.startswith("needs ")


def test_repeats_go_round_all_crews_and_are_measured_once(tmp_path, monkeypatch):
  ran = []

  def run(script, steps, workers, **settings):
    ran.append((settings.get("cluster"), workers, settings["trainer_assist"]))
    rows = [{"staleness_histogram": {"3": 39, "7": 1}, "trainer_waiting": 0.5}] if workers else []
    return runs.Run(steps, 10.0 + len(ran), rows)

  class Nodes:
    def __enter__(self):
      return "here:1"

    def __exit__(self, *raised):
      ran.append("ended")

  monkeypatch.setattr(runs, "training_run", run)
  monkeypatch.setattr(costs, "of_this_machine", lambda config: {
    "craft": 0.8, "learn": 0.1, "publish": 0.01, "reload": 0.01, "processes": 2, "shared": True})
  monkeypatch.setattr(handing_over, "two_nodes", lambda cores: Nodes())
  monkeypatch.setattr(handing_over, "measure",
                      lambda address: handing_over.Handover(*6 * (1e-3,)))
  monkeypatch.setattr(handing_over, "is_possible", lambda: True)
  data = speedup.collect(tiny(tmp_path, repeats=2))
  local, nodes = ran[:14], ran[15:23]
  assert ran[14] == "ended" and ran[23:] == ["ended"]
  assert local[:7] == local[7:] and {where for where, *_ in local} == {None}
  assert nodes[:4] == nodes[4:] == [("here:1", workers, assist) for workers in (1, 2)
                                    for assist in (True, False)]
  for row in (*data["measured"], *data["cluster_measured"]):
    assert len(set(row["speeds"])) == 2
  assert data["measured"][1]["staleness_max"] == 7 and data["measured"][1]["waiting"] == 0.5
  assert data["handover"]["ingest"] == data["network"]["trainer"]["ingest"] == 1e-3
  assert speedup.collect(tiny(tmp_path, repeats=2)) == data and len(ran) == 24


def test_without_ray_no_cluster_is_measured_and_that_is_said(tmp_path, monkeypatch):
  monkeypatch.setattr(runs, "training_run", lambda script, steps, workers, **settings: runs.Run(
    steps, 10.0, [{"staleness_histogram": {"3": 40}, "trainer_waiting": 0.5}] if workers else []))
  monkeypatch.setattr(costs, "of_this_machine", lambda config: {
    "craft": 0.8, "learn": 0.1, "publish": 0.01, "reload": 0.01, "processes": 2, "shared": True})
  monkeypatch.setattr(handing_over, "is_possible", lambda: False)
  data = speedup.collect(tiny(tmp_path, repeats=1))
  assert data["cluster_measured"] == [] and data["network"]["assumed"]
  assert any("No cluster was measured" in note for note in speedup.findings(data, SETTINGS).notes)
