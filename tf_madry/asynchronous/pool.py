"""The seam between training and those that craft for it (§5).

There is a pool of this machine's processes (`local/`), and one of a cluster (`ray/`).
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from tf_madry.training.tickets import Tickets


class Batch:
  """A crafted batch to train on.

  Its arrays may be shared with those that craft: after `consume` or `reject` something else takes
  their place. As a context manager it is consumed when the block ends, and rejected when the block
  raises.

  Attributes:
    images: float32 [batch, height, width, channels], read-only.
    labels: int32 [batch], read-only.
    worker: number of the worker that made it.
    ticket: its number in the data stream.
    weights_step: the trainer step of the weights it was made with.
    blocked: seconds that the worker had waited for others when the batch was finished, in all.
  """

  def __init__(self, images: np.ndarray, labels: np.ndarray, *, worker: int, ticket: int,
               weights_step: int, blocked: float, settle: Callable[[bool], Any]):
    self.images, self.labels = images.view(), labels.view()
    self.images.flags.writeable = self.labels.flags.writeable = False
    self.worker, self.ticket = worker, ticket
    self.weights_step, self.blocked = weights_step, blocked
    self._settle = settle  # called once, with whether the batch has been trained on

  def consume(self) -> None:
    """Settles the ticket: the batch has been trained on."""
    self._finish(True)

  def reject(self) -> None:
    """Gives the ticket back, to be crafted again: the batch is too stale, say."""
    self._finish(False)

  def _finish(self, consumed):
    settle, self._settle = self._settle, None
    if settle:
      settle(consumed)

  def __enter__(self) -> "Batch":
    return self

  def __exit__(self, kind, *_) -> None:
    self._finish(kind is None)


class Pool(Protocol):
  """Workers that craft the batches of tickets, each with the newest weights it has seen published.

  A worker that dies, freezes or goes away loses nothing: what it had in work is crafted by another
  one.

  Attributes:
    restarts: how many workers have been replaced, in all.
    torn: batches that were not whole and are crafted again, in all.
    waited: seconds spent waiting in `take`, in all.
  """

  restarts: int
  torn: int
  waited: float

  def start(self, tickets: Tickets, in_flight: int | None) -> None:
    """Sets the workers to work, once the first weights have been published.

    Args:
      tickets: where the workers' tickets are drawn; the trainer draws there too.
      in_flight: how many tickets may be drawn for workers and not settled yet; None: as many as
        there is room for.
    """

  def publish(self, step: int, weights: Sequence) -> None:
    """Shows the workers the weights that training has after so many steps."""

  def look_after(self) -> None:
    """Replaces workers that were lost; to be called before each step. Does not wait.

    Raises:
      StepError: the workers keep dying, or none can be started.
    """

  def take(self, timeout: float) -> Batch | None:
    """The batch finished first; None after `timeout` seconds, or as soon as a worker is lost."""

  def ready(self) -> int:
    """How many finished batches are waiting."""

  def starting(self) -> int:
    """How many workers are on their way to their first batch.

    Where some are at work, those without a place are not on their way.
    """

  def crafting(self) -> list[int]:
    """Steps of the weights of all batches in work, or that workers will begin next."""

  def close(self) -> None:
    """Ends the workers and frees what is shared with them."""
