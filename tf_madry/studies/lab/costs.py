"""What crafting, learning and handing over weights cost while all cores are busy."""

import multiprocessing
import os
import statistics
import time
from typing import Any

from tf_madry import datasets
from tf_madry.asynchronous.local.placement import placements
from tf_madry.config import Config
from tf_madry.errors import UserError
from tf_madry.runtime import devices
from tf_madry.settings import AsyncConfig

REPETITIONS = 5  # the median counts
PATIENCE = 600.0  # seconds for all of it


def of_this_machine(config: Config) -> dict[str, Any]:
  """Measures in as many processes at once as there are devices or cores.

  Each has the place that a worker would have.

  Returns:
    {"craft", "learn", "publish", "reload"}: seconds of a process, the mean over the processes of
    their medians; "processes": how many there were; "shared": whether they share the cores of this
    machine, rather than having a GPU each.

  Raises:
    UserError: a process did not come to its end.
  """
  shared = not devices.gpus()
  number = devices.cores() if shared else len(devices.gpus())
  placed, _ = placements(AsyncConfig(workers=number, trainer_assist=False))
  context = multiprocessing.get_context("spawn")
  barrier, pipes = context.Barrier(number), [context.Pipe(duplex=False) for _ in range(number)]
  processes = [
    context.Process(target=_measure, args=(placement, config, barrier, sender), daemon=True)
    for placement, (_, sender) in zip(placed[1:], pipes, strict=True)]
  for process in processes:
    process.start()
  try:
    deadline = time.monotonic() + PATIENCE
    measured = []
    for process, (receiver, sender) in zip(processes, pipes, strict=True):
      sender.close()
      if not receiver.poll(max(0.0, deadline - time.monotonic())):
        raise UserError(f"costs were not measured within {PATIENCE:g} s; --t_adv and --t_train "
                        "take them as given")
      try:
        measured.append(receiver.recv())
      except EOFError as error:
        process.join()
        raise UserError(f"a process that measures costs ended with exit code {process.exitcode}; "
                        "--t_adv and --t_train take them as given") from error
  finally:
    for process in processes:
      process.kill()
      process.join()
  means = {name: statistics.mean(values[name] for values in measured) for name in measured[0]}
  return means | {"processes": number, "shared": shared}


def _measure(placement, config, barrier, sender):
  placement.apply()
  from tf_madry.benchmark import costs
  from tf_madry.training.learner import Learner
  dataset = datasets.load(config.training.dataset)
  batches = datasets.Batches(len(dataset.train), config.training.batch_size, config.training.seed)
  sender.send(costs.measure(Learner(config, dataset), batches, REPETITIONS,
                            lambda: barrier.wait(PATIENCE)))
  sender.close()
  os._exit(0)  # nothing is left to be done, and TensorFlow takes its time about it
