"""What handing over costs on a cluster."""

import json
import re

import pytest

from tests.helpers.errors import error_of
from tests.helpers.processes import run
from tf_madry.benchmark import cluster, pools


def test_handing_over_is_measured_from_node_to_node(tmp_path):
  pytest.importorskip("ray")
  # As its user does, in a process of its own: Ray forgets to bring the code to the second cluster
  # that a process joins.
  program = tmp_path / "measure.py"
  program.write_text("from tf_madry.benchmark.cluster import cluster\ncluster(rounds=3)\n")
  code, output = run(program, cwd=tmp_path)
  assert code == 0, output
  found = {what: float(value) for what, value in re.findall(r"^  (.*?)  +([\d.]+) ms$", output, re.M)}
  assert len(found) == 6 and min(found.values()) >= 0, output


def test_both_pools_are_measured_in_turn_with_the_same_work(tmp_path, monkeypatch, capsys):
  program, asked = tmp_path / "async_train.py", tmp_path / "asked"
  program.write_text(f"""
import json, pathlib, sys, time
values = json.loads(pathlib.Path(sys.argv[2]).read_text())
folder, cluster = pathlib.Path(values.pop("model_dir")), values.pop("cluster", "")
with open({str(asked)!r}, "a") as file:
  print(json.dumps([cluster, values]), file=file)
folder.mkdir()
pace = 2.0 if cluster else 1.0
rows = [{{"step": step, "time": pace * step, "crafted_per_second": [0, 1, 1]}} for step in (10, 20)]
folder.joinpath("metrics.jsonl").write_text("".join(json.dumps(row) + "\\n" for row in rows))
time.sleep(600)
""")
  monkeypatch.setattr(pools, "is_possible", lambda: True)
  pools.pools(rounds=2, steps=10, program=[program])
  output = capsys.readouterr().out
  assert "processes | 128 (128–128) |" in output and "local | 64 (64–64) |" in output
  assert output.endswith("Ray's pool makes 50.0% (50.0%–50.0%) of the examples a second, round by round\n")
  runs = [json.loads(line) for line in asked.read_text().splitlines()]
  assert [cluster for cluster, _ in runs] == ["local", "", "", "local"]
  assert all(values == runs[0][1] for _, values in runs) and not runs[0][1]["trainer_assist"]


def test_without_ray_it_is_said_what_to_install(monkeypatch):
  monkeypatch.setattr(cluster, "is_possible", lambda: False)

  def begin():
    with cluster.two_nodes(1):
      pass
  assert "accepted: nothing without Ray: pip install ray" in error_of(begin)
