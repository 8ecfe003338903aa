"""What handing over costs on a cluster."""

import re

import pytest

from tests.helpers.errors import error_of
from tests.helpers.processes import run
from tf_madry.benchmark import cluster


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


def test_without_ray_it_is_said_what_to_install(monkeypatch):
  monkeypatch.setattr(cluster, "is_possible", lambda: False)

  def begin():
    with cluster.two_nodes(1):
      pass
  assert "accepted: nothing without Ray: pip install ray" in error_of(begin)
