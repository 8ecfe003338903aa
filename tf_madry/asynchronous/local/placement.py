"""Which GPU, or which share of the cores, each process of asynchronous training works on (§5)."""

import dataclasses
import itertools
import os

from tf_madry import cli
from tf_madry.errors import require
from tf_madry.runtime import devices
from tf_madry.settings import AsyncConfig


@dataclasses.dataclass(frozen=True)
class Placement:
  """Where one process works.

  Attributes:
    environment: variables that say so.
    threads: how many TensorFlow may use; None: as many as it likes.
  """

  environment: dict[str, str]
  threads: int | None = None

  def apply(self) -> None:
    """Settles this process there and imports TensorFlow, which must not have been before."""
    os.environ.update(self.environment)
    cli.load_tensorflow(self.threads)


def placements(settings: AsyncConfig) -> tuple[list[Placement], list[str]]:
  """Shares out the GPUs, or without any the cores.

  Returns:
    (placements, notices): those of the trainer and of each worker in turn, and lines worth telling
    the user.

  Raises:
    UserError: a device that there is not, or that CUDA_VISIBLE_DEVICES hides.
  """
  processes, present = 1 + settings.workers, devices.gpus()
  chosen = [name.strip() for name in settings.devices.split(",")] if settings.devices else present
  require(set(chosen) <= set(present), "devices", settings.devices,
          f"numbers out of {', '.join(present)}" if present
          else "nothing, since there is no GPU here")
  return _on_gpus(chosen, processes) if chosen else _on_cores(devices.cores(), settings)


def _on_gpus(chosen, processes):
  notices, environment = [], {}
  turns = list(itertools.islice(itertools.cycle(chosen), processes))
  used = list(dict.fromkeys(turns))  # a device may be chosen twice
  if processes > len(used):
    notices.append(f"{processes} processes on {len(used)} GPU{'s' if len(used) > 1 else ''} "
                   f"({', '.join(used)}): some share one")
    # TensorFlow would give all of a GPU's memory to the process that comes first.
    environment["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"
  return [Placement({"CUDA_VISIBLE_DEVICES": name, **environment}) for name in turns], notices


def _on_cores(available, settings):
  no_gpu = {"CUDA_VISIBLE_DEVICES": "-1"}
  if not settings.workers:
    return [Placement(no_gpu)], []
  share = max(1, available // (1 + settings.workers))
  rest = max(1, available - settings.workers * share)
  notices, busy = [], settings.workers + settings.trainer_assist
  if busy > available:
    these = f"{available} core{'s' if available > 1 else ''}"
    notices.append(f"{busy} processes that craft on {these}: "
                   f"more than {available} make nothing faster")
  return [Placement(no_gpu, rest)] + settings.workers * [Placement(no_gpu, share)], notices
