"""Workers on a cluster: actors of Ray that are asked for batches (§7)."""

import contextlib
import dataclasses
import functools
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import ray

from tf_madry.asynchronous.pool import Batch
from tf_madry.asynchronous.ray import cluster
from tf_madry.asynchronous.ray.worker import Worker, versions
from tf_madry.asynchronous.replacements import Replacements, say
from tf_madry.config import Config
from tf_madry.training.stepper import StepperError
from tf_madry.training.tickets import Tickets

HEARTBEAT = 10.0
STARTING = 120.0  # seconds that it may take to get ready once it has a place
_PULSE = 1.0  # seconds between two looks
_AHEAD = 2  # batches that a worker is asked for: one in work, one to go on with
_SETTLING = 5.0  # seconds after which it is said that workers have no place yet
_ENDED = "Ray has ended on this machine"


@contextlib.contextmanager
def _noticing() -> Iterator[None]:
  """Raises `StepperError` in place of what Ray raises once it has ended on this machine."""
  try:
    yield
  except OSError as error:
    raise StepperError(_ENDED) from error


@dataclasses.dataclass
class _Worker:
  """An actor as the trainer sees it: waiting for a place, then getting ready, then `crafting`."""

  actor: Any
  hello: ray.ObjectRef
  name: str = ""  # once it has a place: where it is
  node: str = ""
  begun: ray.ObjectRef | None = None
  crafting: bool = False
  pulse: ray.ObjectRef | None = None
  heard: float = 0.0  # when it last answered
  # Batches that it is to craft: their tickets, and the step that its weights have at least.
  asked: dict[ray.ObjectRef, tuple[int, int]] = dataclasses.field(default_factory=dict)


class RayPool:
  """The `pool.Pool` of a cluster that this process has joined.

  Workers that find no place wait for one, as on nodes that join later. Those on a node that goes
  are lost with the batches in their hands, which are crafted by others.

  Args:
    config: of the run.
    image_shape: (height, width, channels).
    weight_shapes: of the weights that are published, by name.
    data: digest of the trainer's data, see `Dataset`.
    heartbeat: seconds without an answer after which a worker, or the cluster, is given up.
  """

  def __init__(self, config: Config, image_shape: tuple[int, ...],
               weight_shapes: Mapping[str, tuple[int, ...]], *, data: str,
               heartbeat: float = HEARTBEAT):
    self._config, self._data, self._heartbeat = config, data, heartbeat
    given = cluster.parse_resources(config.asynchronous.worker_resources)
    self._resources = cluster.worker_resources(given)
    self._workers: dict[int, _Worker] = {}
    self._refused: set[int] = set()
    self._newest: tuple[int, ray.ObjectRef] | None = None
    self._ready: deque[Batch] = deque()
    self._dealt = 0  # tickets that are not settled yet
    self._told = -1  # how many workers had a place when it was last looked at
    self._head, self._own_node = ray.get_runtime_context().gcs_address, cluster.OwnNode()
    self._answered = self._asked = time.monotonic()  # when the head did last, and was
    self.torn, self.waited = 0, 0.0

  def start(self, tickets: Tickets, in_flight: int | None) -> None:
    self._tickets, self._replacements = tickets, Replacements(self._config.asynchronous.workers)
    settings = self._config.asynchronous
    # A worker that has finished a batch cannot hold it back: it counts as one that waits.
    self._most = settings.queue_size + settings.workers if in_flight is None else in_flight
    self._began = time.monotonic()
    threads = self._resources.get("CPU", 0)
    threads = max(1, int(threads)) if threads else None
    arguments = self._config.values(), threads, bool(self._resources.get("GPU"))
    actor = ray.remote(concurrency_groups={"beside": 1}, scheduling_strategy="SPREAD",
                       **cluster.actor_options(self._resources))(Worker)
    self._create = lambda: actor.remote(*arguments)

  @property
  def restarts(self) -> int:
    return self._replacements.count

  @_noticing()
  def publish(self, step: int, weights: Sequence) -> None:
    if not self._reachable():
      return
    # Put once; Ray brings it to each node once.
    try:
      self._newest = step, ray.put([np.asarray(weight) for weight in weights])
    except ray.exceptions.RayError as error:
      raise StepperError(f"the cluster does not take the weights: {_first_line(error)}") from error
    for worker in self._workers.values():
      if worker.crafting:
        self._show(worker)

  @_noticing()
  def look_after(self) -> None:
    if not self._reachable():
      return
    for number in self._replacements.due():
      actor = self._create()
      self._workers[number] = _Worker(actor, actor.hello.remote())
    for number, worker in list(self._workers.items()):
      try:
        self._advance(number, worker)
      except ray.exceptions.RayError as error:
        self._lose(number, error)
    self._tell_places()
    self._deal()

  @_noticing()
  def take(self, timeout: float) -> Batch | None:
    start, lost = time.monotonic(), self.restarts
    self._collect(0)
    while not self._ready:
      left = start + timeout - time.monotonic()
      if left <= 0 or self.restarts > lost:
        return None
      began = time.monotonic()
      self._collect(left)
      self.waited += time.monotonic() - began
    return self._ready.popleft()

  @_noticing()
  def ready(self) -> int:
    self._collect(0)
    return len(self._ready)

  def starting(self) -> int:
    at_work = sum(worker.crafting for worker in self._workers.values())
    waiting = sum(not worker.name for worker in self._workers.values()) if at_work else 0
    return self._config.asynchronous.workers - len(self._refused) - at_work - waiting

  def crafting(self) -> list[int]:
    # What a worker really began with may be newer.
    return [min(step for _, step in worker.asked.values())
            for worker in self._workers.values() if worker.asked]

  def close(self) -> None:
    if cluster.answers(self._head) and not self._own_node.has_ended():
      for worker in self._workers.values():
        ray.kill(worker.actor)
    self._workers.clear()
    self._ready.clear()
    self._newest = None

  def _reachable(self):
    """Whether the cluster's head is there.

    If it is not, many a call of Ray would wait for it for a minute, and then end the process.

    Raises:
      StepperError: it has not been for a while; Ray has ended on this machine.
    """
    if self._own_node.has_ended():
      raise StepperError(_ENDED)
    now = time.monotonic()
    if now > self._asked + _PULSE:
      self._asked = now
      if cluster.answers(self._head):
        self._answered = time.monotonic()
    if now > self._answered + self._heartbeat:
      raise StepperError(f"the cluster has not answered for {self._heartbeat:g} s")
    return self._answered >= self._asked

  def _advance(self, number, worker):
    """Goes on with a worker: to its place, to being ready, from sign of life to sign of life."""
    now = time.monotonic()
    if not worker.begun:
      if _done(worker.hello):
        self._welcome(number, worker, ray.get(worker.hello))
    elif not worker.crafting:
      if _done(worker.begun):
        self._admit(number, worker, ray.get(worker.begun))
      elif now > worker.heard + STARTING:
        self._lose(number, f"was not ready after {STARTING:g} s")
    elif worker.pulse and _done(worker.pulse):
      ray.get(worker.pulse)
      worker.pulse, worker.heard = None, now
    elif worker.pulse and now > worker.heard + self._heartbeat:
      self._lose(number, f"gave no sign of life for {self._heartbeat:g} s")
    elif not worker.pulse and now > worker.heard + _PULSE:
      worker.pulse = worker.actor.pulse.options(concurrency_group="beside").remote()
      worker.heard = now

  def _welcome(self, number, worker, hello):
    host, process, worker.node, theirs = hello
    worker.name = f"worker {number} (process {process} on {host})"
    for name, ours in versions().items():
      if theirs[name] != ours:
        return self._refuse(number, f"has {name} {theirs[name]}, not {ours}")
    worker.begun, worker.heard = worker.actor.begin.remote(), time.monotonic()

  def _admit(self, number, worker, data):
    if data != self._data:
      dataset = self._config.training.dataset
      return self._refuse(number, f"has other images in {dataset} than the trainer")
    worker.crafting, worker.heard = True, time.monotonic()
    self._show(worker)

  def _refuse(self, number, why):
    """Does without a worker: another one in its place would be no better."""
    worker = self._workers.pop(number)
    ray.kill(worker.actor)
    self._refused.add(number)
    if len(self._refused) == self._config.asynchronous.workers:
      raise StepperError(f"{worker.name} {why}, and no other worker is left")
    say(f"warning: {worker.name} is refused: it {why}")

  def _show(self, worker):
    worker.actor.receive.options(concurrency_group="beside").remote(*self._newest)

  def _deal(self):
    """Asks for batches: who has been asked for fewest first."""
    able = [worker for worker in self._workers.values() if worker.crafting]
    while able and self._dealt < self._most:
      worker = min(able, key=lambda one: len(one.asked))
      if len(worker.asked) == _AHEAD:
        break
      ticket, (step, _) = self._tickets.draw(), self._newest
      worker.asked[worker.actor.craft.remote(ticket, step)] = ticket, step
      self._dealt += 1

  def _collect(self, timeout):
    """Takes in what is finished; waits up to `timeout` seconds for the first."""
    asked = {ref: number for number, worker in self._workers.items() for ref in worker.asked}
    if not asked:
      time.sleep(timeout)
      return
    done, _ = ray.wait(list(asked), num_returns=1, timeout=timeout)
    if done:  # and what else is there already
      done, _ = ray.wait(list(asked), num_returns=len(asked), timeout=0)
    for ref in done:
      if worker := self._workers.get(asked[ref]):  # else it was lost with another of its batches
        try:
          images, labels, weights_step, blocked = ray.get(ref)
        except ray.exceptions.RayError as error:
          self._lose(asked[ref], error)
          continue
        ticket, _ = worker.asked.pop(ref)
        # Copies: what is Ray's own memory can be given back only while Ray is there.
        self._ready.append(Batch(
          images.copy(), labels.copy(), worker=asked[ref], ticket=ticket, weights_step=weights_step,
          blocked=blocked, settle=functools.partial(self._settle, ticket)))
    self._deal()

  def _settle(self, ticket, consumed):
    (self._tickets.consume if consumed else self._tickets.give_back)(ticket)
    self._dealt -= 1
    self._deal()

  def _lose(self, number, cause):
    """Takes leave of a worker; what it was asked for is asked of others."""
    worker, gone = self._workers.pop(number), True
    if cluster.answers(self._head):
      ray.kill(worker.actor)
      gone = bool(worker.node) and worker.node not in _living_nodes()
    for ticket, _ in worker.asked.values():
      self._tickets.give_back(ticket)
    self._dealt -= len(worker.asked)
    if isinstance(cause, ray.exceptions.RayTaskError):
      cause = self._replacements.raised(str(cause))
    elif gone:
      cause = "is lost with its node"
    elif isinstance(cause, ray.exceptions.RayError):
      cause = "has died"
    name = worker.name or f"worker {number}"
    self._replacements.lost(number, f"{name} {cause}", len(worker.asked), blamed=not gone)

  def _tell_places(self):
    """Says how many workers have a place where not all have, and when there are more."""
    placed = sum(bool(worker.name) for worker in self._workers.values())
    wanted = self._config.asynchronous.workers - len(self._refused)
    if time.monotonic() < self._began + _SETTLING:
      return
    if placed > self._told:
      rest = "" if placed == wanted else (f"; the cluster has {_written(ray.cluster_resources())}, "
                                          "and the others begin when there is more")
      if rest or 0 <= self._told < wanted:
        say(f"note: {placed} of {wanted} workers have a place, with {_written(self._resources)} "
            f"each{rest}")
      self._told = placed


def _first_line(error):
  return (str(error).strip() or type(error).__name__).splitlines()[0]


def _done(ref):
  return bool(ray.wait([ref], timeout=0)[0])


def _living_nodes():
  return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def _written(resources):
  """As '2 CPU, 1 GPU', without what Ray adds for itself."""
  return ", ".join(f"{amount:g} {name}" for name, amount in sorted(resources.items())
                   if ":" not in name and "memory" not in name) or "nothing"
