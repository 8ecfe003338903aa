"""Whole asynchronous runs: workers on a Ray cluster of this machine against its own processes."""

import collections
from collections.abc import Sequence

from tf_madry.benchmark.cluster import is_possible
from tf_madry.benchmark.rounds import BATCH_SIZE, spread
from tf_madry.benchmark.runs import PROGRAM, training_run
from tf_madry.errors import require
from tf_madry.runtime import devices

LOCAL, RAY = "this machine's processes", "Ray, --cluster local"
POOLS = {LOCAL: {}, RAY: {"cluster": "local"}}


def pools(rounds: int = 5, steps: int = 200, k: int = 8, workers: int = 2,
          program: Sequence[str] = PROGRAM) -> None:
  """Examples/s of both pools, in turn, with the same work: the trainer crafts none of the batches."""
  require(is_possible(), "benchmark", "pools", "nothing without Ray: pip install ray")
  settings = {"k": k, "batch_size": BATCH_SIZE, "trainer_assist": False, "reload_from": "memory"}
  speeds = collections.defaultdict(list)
  for number in range(rounds):
    # Each comes first as often as the other: what a machine does changes with time.
    for name in sorted(POOLS, reverse=bool(number % 2)):
      run = training_run("async_train.py", steps, workers, program, **settings, **POOLS[name])
      speeds[name].append(BATCH_SIZE * run.steps / run.seconds)
  print(f"pools: κ = {k}, batch {BATCH_SIZE}, {workers} workers and a trainer that crafts nothing, "
        f"{devices.description()}; median (range) of {rounds} rounds of {steps} steps each\n")
  print("| workers | examples/s |\n|---|---|")
  for name in POOLS:
    print(f"| {name} | {spread(speeds[name], '.0f')} |")
  ratios = [ray / local for ray, local in zip(speeds[RAY], speeds[LOCAL], strict=True)]
  print(f"\nRay's pool makes {spread(ratios, '.1%')} of the examples a second, round by round")
