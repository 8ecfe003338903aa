"""The processes that train together, as TensorFlow's TF_CONFIG names them."""

import dataclasses
import json
import os
import socket
import threading
from collections.abc import Callable

from tf_madry.errors import UserError, require

VARIABLE = "TF_CONFIG"
EXAMPLE = '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}'
JOBS = ("chief", "worker")  # of a cluster, in the order of its processes

# A process that does not answer within so many seconds, so often in a row, so many apart, has gone.
CHECKS, PAUSE, PATIENCE = 3, 5.0, 5.0


@dataclasses.dataclass(frozen=True)
class Cluster:
  """Who trains together.

  Attributes:
    addresses: "host:port" of each process, the chief's first.
    own: the number of this one.
  """

  addresses: tuple[str, ...]
  own: int

  @property
  def is_chief(self) -> bool:
    """Whether this process is the one that writes."""
    return self.own == 0

  def name(self, number: int) -> str:
    """What a process is called."""
    return f"{f'worker {number}' if number else 'the chief'} ({self.addresses[number]})"

  @property
  def others(self) -> list[int]:
    """The numbers of the other processes."""
    return [number for number in range(len(self.addresses)) if number != self.own]

  def answers(self, number: int) -> bool:
    """Whether a process greets who connects, as gRPC's servers do.

    Where a process is frozen, the system goes on taking connections for it.
    """
    host, _, port = self.addresses[number].rpartition(":")
    try:
      with socket.create_connection((host.strip("[]"), int(port)), PATIENCE) as connection:
        return bool(connection.recv(1))
    except OSError:
      return False

  def watch(self, has_gone: Callable[[int], object]) -> threading.Event:
    """Has a thread look after the others, which takes up to half a minute to notice.

    A process that dies is known at once by the connections that it had; one that is frozen, or a
    machine that goes without a word, closes none.

    Args:
      has_gone: called from the thread, once, with the number of the first that has gone.

    Returns:
      The event that ends the watch.
    """
    end = threading.Event()

    def look():
      missed = dict.fromkeys(self.others, 0)
      while not end.wait(PAUSE):
        for number in missed:
          missed[number] = 0 if self.answers(number) else missed[number] + 1
          if missed[number] == CHECKS:
            has_gone(number)
            return

    threading.Thread(target=look, daemon=True).start()
    return end


def from_environment() -> Cluster:
  """The cluster that TF_CONFIG names.

  Raises:
    UserError: there is no TF_CONFIG, or it is none.
  """
  text = os.environ.get(VARIABLE)
  require(text, VARIABLE, text, f"the processes that train together, as {EXAMPLE}")
  try:
    config = json.loads(text)
  except ValueError as error:
    raise UserError(f"{VARIABLE} is not JSON: {error}") from error
  accepted = f"something like {EXAMPLE}"
  parts = [config.get(name) for name in ("cluster", "task")] if isinstance(config, dict) else []
  require(parts and all(isinstance(part, dict) for part in parts), VARIABLE, text, accepted)
  cluster, task = parts
  unknown = sorted(set(cluster) - set(JOBS))
  require(not unknown, f"job of {VARIABLE}", ", ".join(unknown), ", ".join(JOBS))
  known = {job: cluster[job] for job in JOBS if job in cluster}
  places = []
  for job, addresses in known.items():
    require(isinstance(addresses, list) and addresses and all(map(_is_address, addresses)),
            f"{job} of {VARIABLE}", addresses, "a list of addresses, as host:port")
    require(job != "chief" or len(addresses) == 1, f"chief of {VARIABLE}", addresses, "one address")
    places += [(job, str(index)) for index in range(len(addresses))]
  own = task.get("type"), str(task.get("index"))
  require(own in places, f"task of {VARIABLE}", task,
          " or ".join(f"{job} {index}" for job, index in places) or "one of a cluster's jobs")
  everybody = [address for addresses in known.values() for address in addresses]
  twice = sorted({address for address in everybody if everybody.count(address) > 1})
  require(not twice, f"address in {VARIABLE}", ", ".join(twice), "each once")
  return Cluster(tuple(everybody), places.index(own))


def _is_address(address):
  host, _, port = address.rpartition(":") if isinstance(address, str) else ("", "", "")
  return bool(host) and port.isdecimal() and 0 < int(port) < 2**16
