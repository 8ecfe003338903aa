"""Workers on a cluster of two nodes: their batches, and what becomes of those when one dies."""

import contextlib
import functools
import os
import signal
import time

import numpy as np
import pytest

pytest.importorskip("ray")

from tests.helpers.asynchronous import all_craft, begin, config, newest, restarts, rows
from tests.helpers.clusters import actors, cluster
from tests.helpers.processes import until
from tf_madry import checkpoints, datasets
from tf_madry.asynchronous import trainer
from tf_madry.asynchronous.ray import cluster as clusters
from tf_madry.asynchronous.ray import pool, worker
from tf_madry.training import loop
from tf_madry.training.stepper import StepperError


@pytest.fixture(scope="module")
def nodes():
  with cluster() as made:
    yield made


def train(config, data=None, **options):
  """Trains with workers on the cluster that this process has joined."""
  make_pool = functools.partial(pool.RayPool, data=data or datasets.load().digest, **options)
  return loop.train(
    config, make_stepper=functools.partial(trainer.Asynchronous, make_pool=make_pool)
  )


def test_the_batches_are_those_of_one_process_and_nothing_is_left(nodes, tmp_path):
  import ray
  # No staleness, the same batches, the same random starts: what synchronous training does.
  settings = {"steps": 10, "max_staleness": 0, "trainer_assist": False}
  with clusters.joined(nodes.address):
    before = ray.available_resources()
    train(config(tmp_path / "run", cluster=nodes.address, **settings))
    until(lambda: ray.available_resources() == before, timeout=30)
  until(lambda: not actors(), timeout=30)
  last = rows(tmp_path)[-1]
  assert [last[name] for name in ("staleness_max", "thrown_away", "restarts")] == [0, 0, 0]
  loop.train(config(tmp_path / "synchronous", steps=10))
  theirs = checkpoints.read_newest(str(tmp_path / "synchronous")).arrays
  for name, array in newest(tmp_path / "run").arrays.items():
    if name.startswith("model/"):
      np.testing.assert_allclose(array, theirs[name], atol=1e-3)


@pytest.mark.parametrize("name", ["tf_madry", "TensorFlow"])
def test_another_version_is_refused_by_name(nodes, tmp_path, monkeypatch, name):
  said = rf"has {name} [\d.]+, not 9\.9"
  monkeypatch.setattr(pool, "versions", lambda: worker.versions() | {name: "9.9"})
  refused = pytest.raises(
    StepperError, match=rf"^worker 0 \(process \d+ on [\d.]+\) {said}, and no other"
  )
  with clusters.joined(nodes.address), refused:
    train(config(tmp_path, steps=10, cluster=nodes.address, trainer_assist=False))
  assert not checkpoints.list_paths(str(tmp_path))  # nothing is lost: no step was done


def test_other_images_are_refused(nodes, tmp_path):
  refused = pytest.raises(StepperError, match="has other images in mnist than the trainer, and no")
  with clusters.joined(nodes.address), refused:
    train(config(tmp_path, steps=10, cluster=nodes.address, trainer_assist=False), data="others")


def test_nodes_and_workers_come_and_go(nodes, tmp_path):
  process = begin(
    tmp_path,
    f"--cluster={nodes.address}",
    "--workers=2",
    "--steps=100000",
    "--checkpoint_every=5",
    "--max_staleness=8",
    "--notrainer_assist",  # which takes the cores from workers that start
  )
  with contextlib.ExitStack() as stack:
    stack.callback(process.kill)
    until(lambda: rows(tmp_path) and rows(tmp_path)[-1]["crafted_per_second"][1:].count(0) == 1)
    added = nodes.add_node(num_cpus=1)  # whom there was no place for before
    until(lambda: all_craft(tmp_path))
    os.kill(actors()[0], signal.SIGKILL)
    until(lambda: restarts(tmp_path) == 1)
    until(lambda: all_craft(tmp_path))
    nodes.remove_node(added)
    until(lambda: restarts(tmp_path) == 2)
    added = nodes.add_node(num_cpus=1)
    stack.callback(nodes.remove_node, added)
    until(lambda: all_craft(tmp_path))
    process.kill()
    killed = time.monotonic()
    output, _ = process.communicate(timeout=60)
    until(lambda: not actors(), timeout=60)
    assert time.monotonic() - killed < 10
    assert "note: 1 of 2 workers have a place, with 1 CPU each; the cluster has 1 CPU" in output
    assert "note: 2 of 2 workers have a place" in output
    assert (
      "has died; " in output and "is lost with its node; " in output and "Traceback" not in output
    ), output
    assert max(row["staleness_max"] for row in rows(tmp_path)) <= 8
    assert newest(tmp_path / "run").step > 0
    # What is there from here on is of the run that goes on.
    (tmp_path / "run" / "metrics.jsonl").unlink()
    process = begin(tmp_path, f"--cluster={nodes.address}", "--workers=1", "--steps=100000",
                    "--notrainer_assist")
    stack.callback(process.kill)
    until(lambda: all_craft(tmp_path))
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 143, output
    assert (
      f"stopped after step {newest(tmp_path / 'run').step:,}" in output
      and "Traceback" not in output
    ), output
    until(lambda: not actors(), timeout=10)


def test_a_head_that_does_not_answer_ends_the_run_which_is_saved(nodes, tmp_path, monkeypatch):
  def answers(address):
    return not checkpoints.list_paths(str(tmp_path))

  with clusters.joined(nodes.address), monkeypatch.context() as patch:
    patch.setattr(clusters, "answers", answers)
    with pytest.raises(StepperError, match=r"^the cluster has not answered for 0\.5 s; saved after") as error:
      train(config(tmp_path, steps=100_000, cluster=nodes.address, checkpoint_every=5), heartbeat=0.5)
  step = newest(tmp_path).step
  assert step > 0 and str(error.value).endswith(f" step {step:,}")


def test_a_cluster_that_ends_here_ends_the_run_and_a_checkpoint_stands(tmp_path):
  with cluster() as made:
    process = begin(tmp_path, f"--cluster={made.address}", "--workers=1", "--steps=100000",
                    "--checkpoint_every=10", "--batch_size=64", "--reload_every=1000")
    with contextlib.ExitStack() as stack:
      stack.callback(process.kill)
      until(lambda: all_craft(tmp_path) and checkpoints.list_paths(str(tmp_path / "run")))
      made.remove_node(made.head_node, allow_graceful=False)
      output, _ = process.communicate(timeout=60)
  step = newest(tmp_path / "run").step
  if process.returncode == 2:
    assert output.splitlines()[-1] == f"error: Ray has ended on this machine; saved after step {step:,}"
    assert "Traceback" not in output
  else:  # Ray found out first, within a call that hands something over: what was saved before stands
    assert process.returncode == 1, output
    assert step >= 10 and step % 10 == 0, step
