"""Whole runs whose batches are split over devices, against one device with as many threads."""

import collections
import json
import socket
import statistics
from collections.abc import Sequence

from tf_madry.benchmark.rounds import BATCH_SIZE, spread
from tf_madry.benchmark.runs import PROGRAM, training_run
from tf_madry.runtime import devices as machine

PROCESSES = 2
# Of the projection: the paper's step on its GPU (60,000 of κ = 8 in 4 hours); the gradients, loss and
# accuracy that replicas sum, as float32; and how fast GPUs hand them on over PCIe 3.0, at least.
GPUS, PAPER_SECONDS, SUMMED_BYTES, BYTES_PER_SECOND = 8, 4 * 3600 / 60_000, 4 * 3_274_636, 8e9


def devices(rounds: int = 3, steps: int = 30, k: int = 8, batch_size: int = BATCH_SIZE,
            program: Sequence[str] = PROGRAM) -> None:
  """Examples/s of a batch on one device, on two of one process, and on those of two processes."""
  settings = {"k": k, "batch_size": batch_size}
  share = max(1, machine.cores() // PROCESSES)
  mirrored = {"strategy": "mirrored", "cpu_devices": PROCESSES}
  together = {"strategy": "multiworker"}
  speeds = collections.defaultdict(list)
  for _ in range(rounds):
    for name, environments, more in (
        (f"one device, {PROCESSES * share} threads", [_threads(PROCESSES * share)], {}),
        (f"mirrored, {PROCESSES} devices that share {PROCESSES * share} threads",
         [_threads(PROCESSES * share)], mirrored),
        (f"multiworker, {PROCESSES} processes of {share}, a ring over TCP", _cluster(share), together)):
      run = training_run("train.py", steps, program=program, environments=environments, **settings,
                         **more)
      speeds[name].append(batch_size * run.steps / run.seconds)
  print(f"devices: κ = {k}, batch {batch_size}, {machine.description()}; median (range) of {rounds} "
        f"runs of {steps} steps\n")
  print("| batch on | examples/s | efficiency |\n|---|---|---|")
  base = statistics.median(next(iter(speeds.values())))
  for name, values in speeds.items():
    print(f"| {name} | {spread(values, '.0f')} | {statistics.median(values) / base:.0%} |")
  # In a ring each sends nearly all of it twice.
  seconds = 2 * (GPUS - 1) / GPUS * SUMMED_BYTES / BYTES_PER_SECOND
  print(f"\nProjection, nothing of it measured: {GPUS} GPUs that each take the paper's "
        f"{PAPER_SECONDS:.2f} s for {BATCH_SIZE} images sum {SUMMED_BYTES / 1e6:.0f} MB of gradients "
        f"in {1000 * seconds:.1f} ms at {BYTES_PER_SECOND / 1e9:g} GB/s: batches of "
        f"{GPUS * BATCH_SIZE:,} at {PAPER_SECONDS / (PAPER_SECONDS + seconds):.1%} efficiency.")


def _threads(number):
  return {f"TF_NUM_{kind}_THREADS": str(number) for kind in ("INTRAOP", "INTEROP")}


def _cluster(threads):
  """The environments of processes of this machine that train together."""
  servers = [socket.create_server(("localhost", 0)) for _ in range(PROCESSES)]
  addresses = [f"localhost:{server.getsockname()[1]}" for server in servers]
  for server in servers:
    server.close()
  return [{"TF_CONFIG": json.dumps({"cluster": {"worker": addresses},
                                    "task": {"type": "worker", "index": number}}),
           **_threads(threads)} for number in range(PROCESSES)]
