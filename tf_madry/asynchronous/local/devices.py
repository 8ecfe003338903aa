"""Which device, or which share of the cores, each process of asynchronous training works on (§5)."""

import dataclasses
import glob
import itertools
import os
import shutil
import subprocess

from tf_madry import cli
from tf_madry.errors import require


@dataclasses.dataclass(frozen=True)
class Place:
  """Where one process works: its `environment`, and how many `threads` TensorFlow may use (None: as many as it likes)."""

  environment: dict
  threads: int | None = None

  def enter(self):
    """Settles this process there and imports TensorFlow, which must not have been imported before."""
    os.environ.update(self.environment)
    cli.load_tensorflow(self.threads)


def places(settings):
  """Shares out the GPUs, or without any the cores.

  Args:
    settings: `config.AsyncConfig`.

  Returns:
    (places, notices): the `Place` of the trainer and of each worker in turn, and lines worth telling the user.

  Raises:
    UserError: a device that there is not, or that CUDA_VISIBLE_DEVICES hides.
  """
  processes, present = 1 + settings.workers, gpus()
  chosen = [name.strip() for name in settings.devices.split(",")] if settings.devices else present
  require(set(chosen) <= set(present), "devices", settings.devices,
          f"numbers out of {', '.join(present)}" if present else "nothing, since there is no GPU here")
  return _on_gpus(chosen, processes) if chosen else _on_cores(cores(), settings)


def _on_gpus(chosen, processes):
  notices, environment = [], {}
  turns = list(itertools.islice(itertools.cycle(chosen), processes))
  used = list(dict.fromkeys(turns))  # a device may be chosen twice
  if processes > len(used):
    notices.append(f"{processes} processes on {len(used)} GPU{'s' if len(used) > 1 else ''} ({', '.join(used)}): "
                   "some share one")
    # TensorFlow would give all of a GPU's memory to the process that comes first.
    environment["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"
  return [Place({"CUDA_VISIBLE_DEVICES": name, **environment}) for name in turns], notices


def _on_cores(available, settings):
  no_gpu = {"CUDA_VISIBLE_DEVICES": "-1"}
  if not settings.workers:
    return [Place(no_gpu)], []
  share = max(1, available // (1 + settings.workers))
  rest = max(1, available - settings.workers * share)
  notices, busy = [], settings.workers + settings.trainer_assist
  if busy > available:
    notices.append(f"{busy} processes that craft on {available} core{'s' if available > 1 else ''}: "
                   f"more than {available} make nothing faster")
  return [Place(no_gpu, rest)] + settings.workers * [Place(no_gpu, share)], notices


def gpus():
  """Names of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES knows them; found without TensorFlow."""
  found, visible = _count(), os.environ.get("CUDA_VISIBLE_DEVICES")
  if visible is None:
    return [str(number) for number in range(found)]

  def known(name):
    return int(name) < found if name.isdecimal() else name.startswith(("GPU-", "MIG-"))

  # CUDA stops at the first that is no GPU's: "-1", what schedulers give to a job without one, a number too high.
  return list(itertools.takewhile(known, (name.strip() for name in visible.split(","))))


def _count():
  """How many GPUs this machine has."""
  if shutil.which("nvidia-smi"):
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
  return len(glob.glob("/dev/nvidia[0-9]*"))


def cores():
  """How many cores this process may use."""
  return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
