"""Workers on this machine: a process each, with batches and weights in shared memory (§5)."""

from collections.abc import Mapping, Sequence

from tf_madry.asynchronous.local.dispatcher import Dispatcher
from tf_madry.asynchronous.local.placement import Placement
from tf_madry.asynchronous.local.slots import Slots
from tf_madry.asynchronous.local.status import Status
from tf_madry.asynchronous.local.supervisor import Supervisor
from tf_madry.asynchronous.local.weights import SharedWeights
from tf_madry.asynchronous.pool import Batch
from tf_madry.asynchronous.replacements import DELAY
from tf_madry.asynchronous.weights import SavedWeights, Weights
from tf_madry.config import Config
from tf_madry.training.tickets import Tickets


class LocalPool:
  """The `pool.Pool` of this machine's processes.

  Args:
    config: of the run.
    image_shape: (height, width, channels).
    weight_shapes: of the weights that are published, by name, all float32.
    placements: where each worker works.
    delay: as of `Replacements`.

  Raises:
    UserError: there is too little shared memory.
  """

  def __init__(self, config: Config, image_shape: tuple[int, ...],
               weight_shapes: Mapping[str, tuple[int, ...]], *, placements: Sequence[Placement],
               delay: float = DELAY):
    self._config, self._placements, self._delay = config, placements, delay
    self._slots = Slots(config.asynchronous.queue_size, config.training.batch_size, image_shape)
    self._weights: Weights = (
        SharedWeights(list(weight_shapes.values())) if config.asynchronous.in_memory
        else SavedWeights(config.run.model_dir, weight_shapes))
    self._status = Status(len(placements))
    self._dispatcher: Dispatcher | None = None
    self._supervisor: Supervisor | None = None

  def start(self, tickets: Tickets, in_flight: int | None) -> None:
    self._dispatcher = Dispatcher(self._slots, tickets, in_flight)
    shared = self._config, self._slots, self._weights
    self._supervisor = Supervisor(self._placements, self._status, self._dispatcher, shared,
                                  self._delay)

  @property
  def restarts(self) -> int:
    return self._supervisor.replacements.count

  @property
  def torn(self) -> int:
    return self._dispatcher.torn

  @property
  def waited(self) -> float:
    return self._dispatcher.waited

  def publish(self, step: int, weights: Sequence) -> None:
    self._weights.publish(step, weights)

  def look_after(self) -> None:
    self._supervisor.look_after()

  def take(self, timeout: float) -> Batch | None:
    return self._dispatcher.take(timeout)

  def ready(self) -> int:
    return self._dispatcher.ready()

  def starting(self) -> int:
    return len(self._placements) - self._dispatcher.at_work()

  def crafting(self) -> list[int]:
    steps = []
    for worker, ticket in self._dispatcher.in_work().items():
      row = self._status.rows[worker]
      if self._supervisor.responds(worker):
        # Who has not begun yet will begin with the newest weights.
        steps.append(int(row["weights_step"]) if row["ticket"] == ticket else self._weights.step)
    return steps

  def close(self) -> None:
    if self._dispatcher:
      self._dispatcher.close()
      self._supervisor.close()
    for shared in self._slots, self._weights, self._status:
      shared.close()
