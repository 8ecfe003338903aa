"""Joins a Ray cluster, brings it the code, and says what a worker takes of it."""

import atexit
import contextlib
import importlib.util
import json
import os
import pathlib
import socket
from collections.abc import Iterator

import tf_madry
from tf_madry import cli
from tf_madry.errors import UserError, require
from tf_madry.runtime import devices

_CONNECT = 5.0  # seconds to wait for a cluster's address to answer
_ANSWER = 1.0  # the same of a cluster that has answered before
# On nodes that share their cores with the trainer: Ray's workers would give way to it.
OWN_SHARE = ("RAY_worker_niceness", "0")
# Code and MNIST travel to the nodes; what studies have found does not.
_PACKAGE = str(pathlib.Path(tf_madry.__file__).parent)
_RUNTIME = {"py_modules": [_PACKAGE], "excludes": ["**/results/**", "**/__pycache__/**"]}


@contextlib.contextmanager
def joined(address: str) -> Iterator[None]:
  """Has this process in a cluster while the block lasts; what it started there ends with it.

  Args:
    address: "host:port" of a cluster, "auto" for the one of this machine, "local" to start one
      here.

  Raises:
    UserError: Ray is not installed, or the cluster cannot be reached or is of another version.
  """
  require(importlib.util.find_spec("ray"), "cluster", address,
          "nothing without Ray: pip install ray")
  import ray
  options = {"log_to_driver": False, "logging_level": "ERROR", "runtime_env": _RUNTIME}
  if address == "local":
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault(*OWN_SHARE)
    options |= {"num_cpus": devices.cores(), "include_dashboard": False}
  elif address != "auto":
    _require_answer(address)
  try:
    ray.init(address, **options)
  except (ConnectionError, RuntimeError, ValueError) as error:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    raise UserError(f"cluster {address!r} cannot be joined: {reason}") from error
  head, own_node = ray.get_runtime_context().gcs_address, OwnNode()
  try:
    yield
  finally:
    if answers(head) and not own_node.has_ended():
      ray.shutdown()
    else:
      # Ray would wait for it for a minute, and then crash: this process ends before Ray's turn comes.
      atexit.register(os._exit, cli.ERROR_CODE)


class OwnNode:
  """Ray's process of this machine, of which this process has everything that Ray hands over.

  Once it has ended, the next call that wants an object of it, or gives it one, ends this process
  with exit code 1 and without a word; so it is asked for before.
  """

  def __init__(self) -> None:
    import ray
    own = ray.get_runtime_context().get_node_id()
    path = next(node["RayletSocketName"] for node in ray.nodes() if node["NodeID"] == own)
    self._line = socket.socket(socket.AF_UNIX)
    self._line.connect(path)
    self._line.setblocking(False)

  def has_ended(self) -> bool:
    """Whether it has; takes a microsecond."""
    try:
      return not self._line.recv(1)
    except BlockingIOError:
      return False
    except OSError:
      return True


def _require_answer(address):
  # Ray itself would wait for a minute, and say why on many lines.
  try:
    _connect(address, _CONNECT)
  except (OSError, ValueError) as error:
    raise UserError(f"cluster {address!r} cannot be joined: {error}") from error


def answers(address: str) -> bool:
  """Whether a cluster's head, "host:port", is there."""
  try:
    _connect(address, _ANSWER)
  except OSError:
    return False
  return True


def _connect(address, timeout):
  host, _, port = address.rpartition(":")
  socket.create_connection((host.strip("[]"), int(port)), timeout).close()


def parse_resources(text: str) -> dict[str, float]:
  """What a worker takes, by Ray's names, from JSON as '{"GPU": 1}'; {} from nothing.

  Raises:
    UserError: it is no such thing.
  """
  try:
    given = json.loads(text) if text else {}
    valid = isinstance(given, dict) and all(
      type(amount) in (int, float) and 0 <= amount < float("inf") for amount in given.values())
  except ValueError:
    valid = False
  require(valid, "worker_resources", text, 'names and amounts as JSON, as {"CPU": 2} or {"GPU": 1}')
  return given


def worker_resources(given: dict[str, float]) -> dict[str, float]:
  """What a worker takes: what is given, else a GPU where the cluster has any, else a core."""
  import ray
  return given or ({"GPU": 1} if ray.cluster_resources().get("GPU", 0) >= 1 else {"CPU": 1})


def actor_options(resources: dict[str, float]) -> dict[str, object]:
  """The options of an actor that takes these."""
  rest = dict(resources)
  options = {"num_cpus": rest.pop("CPU", 0), "num_gpus": rest.pop("GPU", 0)}
  if memory := rest.pop("memory", 0):
    options["memory"] = memory
  return options | {"resources": rest}
