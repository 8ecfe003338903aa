"""What crafting, learning and handing over weights cost a process of asynchronous training here,
all cores being busy.
"""

import multiprocessing
import os
import statistics
import time
from typing import Any

from tf_madry import datasets
from tf_madry.asynchronous.local.placement import placements
from tf_madry.config import AsyncConfig, Config
from tf_madry.errors import UserError
from tf_madry.runtime import devices

REPETITIONS = 5  # the median counts
PATIENCE = 600.0  # seconds for all of it


def of_this_machine(config: Config) -> dict[str, Any]:
  """Measures in as many processes at once as there are devices or cores, each at the place that a
  worker would have.

  Returns:
    {"craft", "learn", "publish", "reload"}: seconds of a process, the mean over the processes of
    their medians; "processes": how many there were; "shared": whether they share the cores of this
    machine, rather than having a GPU each.

  Raises:
    UserError: a process did not come to its end.
  """
  shared = not devices.gpus()
  processes = devices.cores() if shared else len(devices.gpus())
  placed, _ = placements(AsyncConfig(workers=processes, trainer_assist=False))
  context = multiprocessing.get_context("spawn")
  barrier, pipes = context.Barrier(processes), [context.Pipe(duplex=False)
                                                for _ in range(processes)]
  crew = [context.Process(target=_measure, args=(placement, config, barrier, tell), daemon=True)
          for placement, (_, tell) in zip(placed[1:], pipes, strict=True)]
  for process in crew:
    process.start()
  try:
    deadline = time.monotonic() + PATIENCE
    measured = []
    for process, (hear, tell) in zip(crew, pipes, strict=True):
      tell.close()
      if not hear.poll(max(0.0, deadline - time.monotonic())):
        raise UserError(f"costs were not measured within {PATIENCE:g} s; --t_adv and --t_train "
                        "take them as given")
      try:
        measured.append(hear.recv())
      except EOFError as error:
        process.join()
        raise UserError(f"a process that measures costs ended with exit code {process.exitcode}; "
                        "--t_adv and --t_train take them as given") from error
  finally:
    for process in crew:
      process.kill()
      process.join()
  means = {name: statistics.mean(values[name] for values in measured) for name in measured[0]}
  return means | {"processes": processes, "shared": shared}


def _measure(placement, config, barrier, tell):
  placement.apply()
  from tf_madry.benchmark import costs
  from tf_madry.training.learner import Learner
  dataset = datasets.load(config.training.dataset)
  batches = datasets.Batches(len(dataset.train), config.training.batch_size, config.training.seed)
  tell.send(costs.measure(Learner(config, dataset), batches, REPETITIONS,
                          lambda: barrier.wait(PATIENCE)))
  tell.close()
  os._exit(0)  # nothing is left to be done, and TensorFlow takes its time about it
