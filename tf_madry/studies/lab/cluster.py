"""A discrete-event simulation of asynchronous training with its workers on a cluster (§7).

    simulate(Costs(craft=0.04, learn=0.005), Network(bandwidth=1.25e9, latency=5e-4), workers=64)

It does what `asynchronous/ray/pool.py` does, with the times that computing and travelling take.
"""

import collections
import dataclasses
import functools

from tf_madry.errors import require
from tf_madry.studies.lab.clock import Clock
from tf_madry.studies.lab.simulation import Costs

AHEAD = 2  # batches that a worker is asked for: one in work, one to go on with
STEPS = 1_000  # that are measured, a multiple of the paper's 100 steps between snapshots
WARM_UP = 10  # times the batches on their way and the steps between snapshots


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network:
  """What lies between a trainer and its workers.

  The batches of all workers come in by the trainer's link, one after the other, and weights go out
  by it, to one node after the other. A node's own link has less to carry, and holds nothing up.

  Attributes:
    bandwidth: of the trainer's link, bytes/s in each direction.
    latency: seconds from sending to arriving, besides what the bandwidth takes.
    ingest: seconds of the trainer's thread to take a batch in and to ask for another.
    watch: seconds of the trainer's thread for each worker, in every step.
    per_node: workers on a node, which fetches weights once for all of them.
    batch: bytes of 128 images of 28×28 float32 with their int32 labels.
    weights: bytes of the paper's network.
  """

  bandwidth: float
  latency: float = 0.0
  ingest: float = 0.0
  watch: float = 0.0
  per_node: int = 8
  batch: int = 128 * (28 * 28 + 1) * 4
  weights: int = 3_274_634 * 4

  def __post_init__(self) -> None:
    for name, value in vars(self).items():
      least = "at least 0" if name in ("latency", "ingest", "watch") else "above 0"
      require(0 <= value < float("inf") and (value or least == "at least 0"), name, value,
              f"a number, {least}")


@dataclasses.dataclass(frozen=True)
class Outcome:
  """What `simulate` saw in a number of steps.

  Attributes:
    rate: training steps a second.
    staleness: {trainer step minus step of the weights: batches}, 0 for the trainer's own.
    own: share of the steps on a batch that the trainer had to craft itself.
    waiting: share of the time that the trainer had nothing to do.
    idle: share of the workers' time in which they did not craft.
    batches_in, weights_out: share of its bandwidth that the trainer's link used, each way.
  """

  rate: float
  staleness: dict[int, int]
  own: float
  waiting: float
  idle: float
  batches_in: float
  weights_out: float


def simulate(costs: Costs, network: Network, *, workers: int, queue_size: int = 16,
             reload_every: int = 100, assist: bool = True, cores: int | None = None,
             steps: int = STEPS) -> Outcome:
  """Simulates asynchronous training on a cluster until it is in full swing, and so many steps more.

  A worker is asked for up to `AHEAD` batches, all of them together for no more than fit the queue
  and their hands. It begins one with the newest weights on its node, and waits for those that had
  been published when it was asked. What has arrived the trainer sees between its steps.

  Args:
    costs: `Costs`.
    network: `Network`.
    workers: how many there are.
    queue_size: finished batches that may wait.
    reload_every: steps between snapshots (paper: 100).
    assist: whether the trainer crafts a batch of its own while none is there.
    cores: that all processes share, the trainer with a thread on each, workers with one; None: each
      has a device of its own.
    steps: that are measured.

  Returns:
    `Outcome`.
  """
  require(workers >= 1, "workers", workers, "at least 1")
  return _Simulation(costs, network, workers, queue_size, reload_every, assist, cores).run(steps)


class _Simulation:
  def __init__(self, costs, network, workers, queue_size, reload_every, assist, cores):
    self._costs, self._network, self._reload_every = costs, network, reload_every
    self._assist, self._most = assist, queue_size + workers
    self._clock, self._threads = Clock(cores), cores or 1
    self._step = self._published = self._dealt = 0
    self._nodes = [0] * -(-workers // network.per_node)  # steps of the weights that are there
    # By worker: batches asked for and not seen by the trainer, the step that each asks for,
    # whether one is in work, the weights of the last one, since when none has been in work.
    self._asked, self._inbox = [0] * workers, [collections.deque() for _ in range(workers)]
    self._busy, self._has, self._since = [False] * workers, [0] * workers, [0.0] * workers
    self._arrivals, self._ready = [], collections.deque()  # (worker, step of weights); such steps
    self._idle_since = None  # of the trainer
    self._free = {"batches_in": 0.0, "weights_out": 0.0}  # when the link is, each way
    self._spent = collections.Counter()  # seconds, by what for
    self._ages = collections.Counter()
    self._own = 0

  def run(self, steps):
    for worker in range(len(self._asked)):
      # Not all at once, but one after the other, as they come to be in the long run.
      self._ask(worker, self._costs.craft * worker / len(self._asked))
    self._turn()
    # In full swing: what is on its way has been trained on often enough for a link that cannot keep
    # up to have slowed down the rest.
    self._until(WARM_UP * (self._most + self._reload_every))
    began = self._clock.now
    self._ages.clear()
    self._spent.clear()
    self._own, behind = 0, self._behind()
    self._since = [began] * len(self._asked)
    self._until(self._step + steps)
    seconds = self._clock.now - began
    for worker, busy in enumerate(self._busy):
      self._spent["idle"] += 0.0 if busy else self._clock.now - self._since[worker]
    for way, left in self._behind().items():
      self._spent[way] += behind[way] - left
    return Outcome(steps / seconds, dict(sorted(self._ages.items())), self._own / steps,
                   self._spent["waiting"] / seconds,
                   self._spent["idle"] / seconds / len(self._asked),
                   self._spent["batches_in"] / seconds, self._spent["weights_out"] / seconds)

  def _until(self, step):
    while self._step < step:
      self._clock.next()()

  def _behind(self):
    """By way: seconds that the link will take for what it has been given."""
    return {way: max(0.0, free - self._clock.now) for way, free in self._free.items()}

  def _send(self, way, size):
    """Seconds until so many bytes have arrived, behind what is on its way already."""
    seconds = size / self._network.bandwidth
    self._spent[way] += seconds
    self._free[way] = max(self._free[way], self._clock.now) + seconds
    return self._free[way] - self._clock.now + self._network.latency

  # The trainer

  def _turn(self):
    """Begins the next step, if there is a batch for it."""
    for worker, _ in self._arrivals:
      self._asked[worker] -= 1
    self._ready.extend(weights for _, weights in self._arrivals)
    self._arrivals.clear()
    self._deal()
    cost = self._costs.learn + self._network.watch * len(self._asked)
    if (self._step + 1) % self._reload_every == 0:
      cost += self._costs.publish
    if self._ready:
      then = functools.partial(self._learnt, self._ready.popleft())
      self._clock.start(then, cost + self._network.ingest, self._threads)
    elif self._assist:
      self._clock.start(self._learnt, cost + self._costs.craft, self._threads)
    else:
      self._idle_since = self._clock.now

  def _learnt(self, weights=None):
    self._ages[0 if weights is None else self._step - weights] += 1
    self._step += 1
    if self._step % self._reload_every == 0:
      self._published = self._step
      for node in range(len(self._nodes)):
        self._clock.after(functools.partial(self._reloaded, node, self._step),
                          self._send("weights_out", self._network.weights))
    if weights is None:
      self._own += 1
    else:
      self._dealt -= 1
    self._turn()

  def _deal(self):
    while self._dealt < self._most:
      worker = min(range(len(self._asked)), key=self._asked.__getitem__)
      if self._asked[worker] == AHEAD:
        break
      self._ask(worker)

  def _ask(self, worker, delay=0.0):
    self._asked[worker] += 1
    self._dealt += 1
    self._clock.after(functools.partial(self._told, worker, self._published),
                      delay + self._network.latency)

  def _arrived(self, worker, weights):
    self._arrivals.append((worker, weights))
    if self._idle_since is not None:
      self._spent["waiting"] += self._clock.now - self._idle_since
      self._idle_since = None
      self._turn()

  # The workers

  def _told(self, worker, published):
    self._inbox[worker].append(published)
    self._begin(worker)

  def _reloaded(self, node, step):
    self._nodes[node] = step
    here = range(node * self._network.per_node, len(self._asked))[:self._network.per_node]
    for worker in here:
      self._begin(worker)

  def _begin(self, worker):
    there = self._nodes[worker // self._network.per_node]
    if self._busy[worker] or not self._inbox[worker] or there < self._inbox[worker][0]:
      return
    self._inbox[worker].popleft()
    self._busy[worker] = True
    self._spent["idle"] += self._clock.now - self._since[worker]
    cost = self._costs.craft + (self._costs.reload if there != self._has[worker] else 0.0)
    self._has[worker] = there
    self._clock.start(functools.partial(self._crafted, worker), cost)

  def _crafted(self, worker):
    self._busy[worker], self._since[worker] = False, self._clock.now
    self._clock.after(functools.partial(self._arrived, worker, self._has[worker]),
                      self._send("batches_in", self._network.batch))
    self._begin(worker)
