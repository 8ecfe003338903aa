"""Joining a cluster, and what is asked of it."""

import os

import pytest

from tests.helpers.processes import run
from tf_madry.asynchronous.ray import cluster
from tf_madry.errors import UserError


def test_resources_are_asked_for_by_rays_names():
  given = cluster.parse_resources('{"CPU": 2, "GPU": 0.5, "memory": 1000, "TPU": 1}')
  assert cluster.actor_options(given) == {
    "num_cpus": 2, "num_gpus": 0.5, "memory": 1000, "resources": {"TPU": 1}}
  assert cluster.parse_resources("") == {}


@pytest.mark.parametrize(
  "text", ["GPU", "[]", '{"GPU": "one"}', '{"GPU": -1}', '{"GPU": true}', '{"CPU": Infinity}']
)
def test_other_resources_are_one_line(text):
  with pytest.raises(
    UserError, match=r"^worker_resources is .*, accepted: names and amounts as JSON"
  ):
    cluster.parse_resources(text)


@pytest.mark.parametrize(
  ("given", "said"),
  [
    (
      ["--cluster=nowhere"],
      "cluster is 'nowhere', accepted: host:port of a Ray cluster, auto, or local",
    ),
    (["--cluster=127.0.0.1:1"], "cluster '127.0.0.1:1' cannot be joined: "),
    (["--worker_resources={}"], "worker_resources is '{}', accepted: nothing without a cluster"),
    (
      ["--cluster=auto", "--reload_from=checkpoint"],
      "reload_from is 'checkpoint', accepted: memory on a cluster",
    ),
    (
      ["--cluster=auto", "--worker_resources=GPU"],
      "worker_resources is 'GPU', accepted: names and amounts",
    ),
  ],
)
def test_bad_input_is_one_line_and_makes_nothing(tmp_path, given, said):
  if "127.0.0.1" in said:
    pytest.importorskip("ray")
  code, output = run("async_train.py", *given, cwd=tmp_path)
  assert code == 2
  assert said in output and len(output.splitlines()) == 1, output
  assert os.listdir(tmp_path) == []


def test_without_ray_it_is_said_what_to_install(monkeypatch):
  monkeypatch.setattr(cluster.importlib.util, "find_spec", lambda name: None)
  with pytest.raises(
    UserError, match=r"^cluster is 'auto', accepted: nothing without Ray: pip install ray$"
  ):
    cluster.joined("auto").__enter__()


def test_workers_that_share_the_cores_of_the_trainer_do_not_give_way_to_it(monkeypatch):
  ray = pytest.importorskip("ray")
  name, value = cluster.OWN_SHARE
  monkeypatch.setenv(name, "15")
  monkeypatch.delenv(name)
  seen = []

  def init(address, **options):
    seen.append(os.environ.get(name))
    raise RuntimeError("full")

  monkeypatch.setattr(ray, "init", init)
  for address in ("auto", "local"):
    with pytest.raises(UserError, match="cannot be joined: full"):
      cluster.joined(address).__enter__()
  assert seen == [None, value]
