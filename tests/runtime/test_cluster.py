"""The processes that TF_CONFIG names."""

import contextlib
import json
import os
import signal
import subprocess
import sys

import pytest

from tests.helpers.errors import error_of
from tf_madry.runtime import cluster as cluster_lib
from tf_madry.runtime.cluster import Cluster, from_environment

WORKERS = ["a:1", "b:2"]


def given(monkeypatch, cluster, task):
  monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task, "environment": "cloud"}))


@pytest.mark.parametrize(("cluster", "task", "addresses", "own"), [
    ({"worker": WORKERS}, {"type": "worker", "index": 1}, ("a:1", "b:2"), 1),
    ({"worker": WORKERS}, {"type": "worker", "index": "0"}, ("a:1", "b:2"), 0),
    ({"worker": WORKERS, "chief": ["c:3"]}, {"type": "worker", "index": 0}, ("c:3", "a:1", "b:2"), 1),
    ({"worker": WORKERS, "chief": ["c:3"]}, {"type": "chief", "index": 0}, ("c:3", "a:1", "b:2"), 0),
    ({"worker": ["[::1]:4"]}, {"type": "worker", "index": 0}, ("[::1]:4",), 0)])
def test_the_chief_comes_first(monkeypatch, cluster, task, addresses, own):
  given(monkeypatch, cluster, task)
  found = from_environment()
  assert found == Cluster(addresses, own)
  assert found.is_chief == (own == 0)
  assert found.others == [number for number in range(len(addresses)) if number != own]


@pytest.mark.parametrize(("text", "said"), [
    (None, "TF_CONFIG is None, accepted: the processes that train together, as {"), ("", "TF_CONFIG is ''"),
    ("{", "TF_CONFIG is not JSON: "), ("[1]", "TF_CONFIG is '[1]', accepted: something like {"),
    ('{"cluster": {"worker": ["a:1"]}}', "something like"), ('{"cluster": ["a:1"], "task": {}}', "something like"),
    ('{"cluster": {"ps": ["a:1"]}, "task": {}}', "job of TF_CONFIG is 'ps', accepted: chief, worker"),
    ('{"cluster": {"worker": "a:1"}, "task": {}}', "worker of TF_CONFIG is 'a:1', accepted: a list of addresses"),
    ('{"cluster": {"worker": ["a"]}, "task": {}}', "worker of TF_CONFIG is ['a'], accepted: a list of addresses, as host:port"),
    ('{"cluster": {"worker": ["a:99999"]}, "task": {}}', "['a:99999']"), ('{"cluster": {"worker": [1]}, "task": {}}', "[1]"),
    ('{"cluster": {"chief": ["a:1", "b:1"]}, "task": {}}', "accepted: one address"),
    ('{"cluster": {"worker": ["a:1", "a:1"]}, "task": {"type": "worker", "index": 0}}', "address in TF_CONFIG is 'a:1', accepted: each once"),
    ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}', "task of TF_CONFIG is {'type': 'worker', 'index': 1}, accepted: worker 0"),
    ('{"cluster": {"worker": ["a:1"]}, "task": {"type": ["worker"], "index": 0}}', "accepted: worker 0"),
    ('{"cluster": {}, "task": {"type": "worker", "index": 0}}', "task of TF_CONFIG is")])
def test_what_is_no_cluster_is_one_line(monkeypatch, text, said):
  if text is None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
  else:
    monkeypatch.setenv("TF_CONFIG", text)
  assert said in error_of(from_environment)


# As a server of gRPC does, it greets who connects.
SERVER = """
import socket
with socket.create_server(("localhost", 0)) as server:
  print(server.getsockname()[1], flush=True)
  while True:
    server.accept()[0].send(b"0")
"""


@contextlib.contextmanager
def partner():
  """Another process: (its address, the process)."""
  process = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
  with process:
    try:
      yield f"localhost:{process.stdout.readline().strip()}", process
    finally:
      process.kill()


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSTOP])
def test_who_dies_or_freezes_has_gone(monkeypatch, signum):
  monkeypatch.setattr(cluster_lib, "PAUSE", 0.01)
  monkeypatch.setattr(cluster_lib, "PATIENCE", 0.5)
  with partner() as (address, process):
    cluster = Cluster(("localhost:1", address), 0)
    assert cluster.answers(1)
    gone = []
    end = cluster.watch(lambda number: (gone.append(number), end.set()))
    assert not end.wait(0.2) and not gone
    os.kill(process.pid, signum)
    assert end.wait(10) and gone == [1]
  assert cluster.name(1) == f"worker 1 ({address})"
