"""A discrete-event simulation of asynchronous training (§5).

    simulate(Costs(craft=0.8, learn=0.1), workers=7)
"""

import collections
import dataclasses

import numpy as np

from tf_madry.errors import require
from tf_madry.studies.lab.clock import Clock

TRAINER = -1  # workers are 0, 1, …
STEPS = 2_000  # that are measured, a multiple of the paper's 100 steps between snapshots


@dataclasses.dataclass(frozen=True, kw_only=True)
class Costs:
  """Seconds that a process takes when it has a device, or a core, to itself."""

  craft: float  # an adversarial batch
  learn: float  # a training step on it
  publish: float = 0.0  # a snapshot of the weights, by the trainer
  reload: float = 0.0  # taking one over, by a worker

  def __post_init__(self) -> None:
    for name, value in vars(self).items():
      least = "above 0" if name in ("craft", "learn") else "at least 0"
      require(0 <= value < float("inf") and (value or least == "at least 0"), name, value,
              f"seconds, {least}")


@dataclasses.dataclass(frozen=True)
class Outcome:
  """What `simulate` saw in a number of steps.

  Attributes:
    rate: training steps a second.
    staleness: {trainer step minus step of the weights: batches}, 0 for the trainer's own.
    waiting: share of the time that the trainer had nothing to do.
    blocked: share of the workers' time spent on waiting for room in the queue.
  """

  rate: float
  staleness: dict[int, int]
  waiting: float
  blocked: float


def summary(staleness: dict[int, int]) -> dict[str, float]:
  """Of {staleness: batches}: `staleness_mean`, `staleness_p95` and `staleness_max`."""
  each = np.repeat(sorted(staleness), [staleness[age] for age in sorted(staleness)])
  return {"staleness_mean": float(each.mean()),
          "staleness_p95": int(each[int(0.95 * (len(each) - 1))]), "staleness_max": int(each[-1])}


def simulate(costs: Costs, *, workers: int, queue_size: int = 16, reload_every: int = 100,
             assist: bool = True, cores: int | None = None, steps: int = STEPS) -> Outcome:
  """Simulates asynchronous training until it is in full swing, and then so many steps of it.

  A worker begins each batch with the newest snapshot, and waits where the queue has no room for it.
  The trainer takes the batch that was finished first; its room is free when it has been trained on.
  Every `reload_every` steps the trainer publishes its weights. Nothing is random: a process always
  takes the same time.

  Args:
    costs: `Costs`.
    workers: how many there are; 0: the trainer does all.
    queue_size: finished batches that may wait.
    reload_every: steps between snapshots (paper: 100).
    assist: whether the trainer crafts a batch of its own while the queue is empty.
    cores: that all processes share, each with a share of the threads as `placement.placements`
      gives it; None: each has a device of its own.
    steps: that are measured.

  Returns:
    `Outcome`.

  Raises:
    UserError: nobody crafts.
  """
  require(workers >= 1 or assist, "workers", workers,
          "at least 1 where the trainer does not assist")
  return _Simulation(costs, workers, queue_size, reload_every, assist, cores).run(steps)


class _Simulation:
  def __init__(self, costs, workers, queue_size, reload_every, assist, cores):
    self._costs, self._workers, self._room = costs, workers, queue_size
    self._reload_every, self._assist = reload_every, assist
    self._clock, self._threads = Clock(cores), max(1, (cores or 1) // (1 + workers))
    self._step = self._published = 0
    # Steps of weights; (worker, step, since).
    self._queue, self._blocked = collections.deque(), collections.deque()
    self._weights = {}  # by worker: step of the weights it crafts with
    # Step of the weights of the batch in training; None: the trainer's own, or none.
    self._training = None
    self._idle_since = None
    self._waited = self._held_up = 0.0
    self._ages = collections.Counter()

  def run(self, steps):
    for worker in range(self._workers):
      # Not all at once, but one after the other, as they come to be in the long run.
      self._craft(worker, self._costs.craft * worker / self._workers)
    self._train()
    # In full swing: every worker has been through the queue, and the batches have weights of the
    # second snapshot or later.
    self._until(2 * (self._room + self._workers + self._reload_every))
    began, waited, held_up = self._clock.now, self._waited, self._held_up
    self._ages.clear()
    self._until(self._step + steps)
    seconds = self._clock.now - began
    return Outcome(steps / seconds, dict(sorted(self._ages.items())),
                   (self._waited - waited) / seconds,
                   (self._held_up - held_up) / seconds / max(1, self._workers))

  def _until(self, step):
    while self._step < step:
      who = self._clock.next()
      if who == TRAINER:
        self._learnt()
      else:
        self._crafted(who)

  def _craft(self, worker, delay=0.0):
    reload = self._costs.reload if self._weights.get(worker) != self._published else 0.0
    self._weights[worker] = self._published
    self._clock.start(worker, delay + reload + self._costs.craft, self._threads)

  def _crafted(self, worker):
    if len(self._queue) + (self._training is not None) < self._room:
      self._queue.append(self._weights[worker])
      self._craft(worker)
    else:
      self._blocked.append((worker, self._weights[worker], self._clock.now))
    if self._idle_since is not None:
      self._waited += self._clock.now - self._idle_since
      self._train()

  def _train(self):
    self._idle_since = None
    cost = self._costs.learn + (self._costs.publish if (self._step + 1) % self._reload_every == 0
                                else 0.0)
    if self._queue:
      self._training = self._queue.popleft()
      self._clock.start(TRAINER, cost, self._threads)
    elif self._assist:
      self._clock.start(TRAINER, self._costs.craft + cost, self._threads)
    else:
      self._idle_since = self._clock.now

  def _learnt(self):
    self._ages[0 if self._training is None else self._step - self._training] += 1
    from_queue, self._training = self._training is not None, None
    self._step += 1
    if self._step % self._reload_every == 0:
      self._published = self._step
    if from_queue and self._blocked:
      worker, weights, since = self._blocked.popleft()
      self._queue.append(weights)
      self._held_up += self._clock.now - since
      self._craft(worker)
    self._train()
