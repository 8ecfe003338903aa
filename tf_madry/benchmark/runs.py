"""Whole runs: what the loop costs, and the speed and staleness of asynchronous training."""

import collections
import importlib.util
import itertools
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tf_madry.asynchronous import ages
from tf_madry.benchmark.rounds import BATCH_SIZE, PATIENCE, spread
from tf_madry.errors import UserError
from tf_madry.runtime import devices

# What Python runs, with a script's name and a config.
PROGRAM = ("-m", "tf_madry.benchmark.process")


def loop(steps: int = 60, every: int = 20, program: Sequence[str] = PROGRAM) -> None:
  """What train.py spends outside of its steps: at its start, on checkpoints; and its memory."""
  first = _train(1, 1, program)
  run = _train(steps, every, program)
  rows = run.rows
  inside = sum(every * BATCH_SIZE / row["examples_per_second"] for row in rows[1:])
  print(f"loop: train.py, κ = 8, batch {BATCH_SIZE}, {devices.cores()} cores")
  share = inside / (rows[-1]["time"] - rows[0]["time"])
  print("  from its start to the end of the first step    "
        f"{first.seconds:.1f} s, compiling included")
  print(f"  inside the steps                               {share:.1%} of the time, "
        f"with progress, summaries and a checkpoint every {every} steps")
  print(f"  peak memory                                    {run.memory / 2**20:,.0f} MiB")


class Training(NamedTuple):
  """A run of train.py: `rows` of metrics.jsonl, seconds to the first, peak memory in bytes."""

  rows: list[dict]
  seconds: float
  memory: int


def _train(steps, every, program):
  with tempfile.TemporaryDirectory() as folder:
    metrics = pathlib.Path(folder, "run", "metrics.jsonl")
    often = dict.fromkeys(("log_every", "summary_every", "checkpoint_every"), every)
    start = time.perf_counter()
    process = _started("train.py", folder, program, {"steps": steps, **often},
                       stdout=subprocess.DEVNULL)
    try:
      while not (metrics.exists() and metrics.read_text().endswith("\n")):
        if process.poll() is not None:
          raise UserError(f"train.py ended with exit code {process.returncode}")
        time.sleep(0.02)
      seconds = time.perf_counter() - start
      _, status, usage = os.wait4(process.pid, 0)
      process.returncode = os.waitstatus_to_exitcode(status)
      if process.returncode:
        raise UserError(f"train.py ended with exit code {process.returncode}")
    finally:
      process.kill()
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    return Training(rows, seconds, 1024 * usage.ru_maxrss)


def _started(script, folder, program, values, **options):
  """A process that trains as a script would, in `folder`/run."""
  path = pathlib.Path(folder, "config.json")
  values = {"eval_every": 0, "model_dir": os.path.join(folder, "run"), **values}
  path.write_text(json.dumps(values), encoding="utf-8")
  return subprocess.Popen([sys.executable, *program, script, path], **options)


class Run(NamedTuple):
  """The measured part of a run: `steps`, `seconds`, and its lines of metrics.jsonl as `rows`."""

  steps: int
  seconds: float
  rows: list[dict]


def training_run(script: str, steps: int, workers: int = 0, program: Sequence[str] = PROGRAM,
                 environments: Sequence[Mapping[str, str]] = ({},), **settings) -> Run:
  """Trains for as long as it takes to see so many steps with all workers at work.

  What comes before, compiling and the start of the workers, is left out.

  Args:
    script: train.py or async_train.py.
    steps: that are measured.
    workers: of async_train.py.
    program: what Python runs.
    environments: variables of the process that is looked at, and of each that trains with it.
    settings: fields of the config.

  Raises:
    UserError: the run ended by itself.
  """
  settings |= {"log_every": 10, "checkpoint_every": 10**9, "steps": 10**6}
  settings |= {"workers": workers} if script == "async_train.py" else {}
  with tempfile.TemporaryDirectory() as folder:
    process, *others = (
        _started(script, folder, program, settings, env=os.environ | more, text=True,
                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for more in environments)
    try:
      rows = []
      while not rows or rows[-1]["step"] - rows[0]["step"] < steps:
        time.sleep(0.2)
        if process.poll() is not None:
          said = process.stdout.read().rstrip().rpartition("\n")[2]
          raise UserError(f"{script} ended with exit code {process.returncode}: {said}")
        rows = _rows_at_work(pathlib.Path(folder, "run", "metrics.jsonl"), workers)
      process.send_signal(signal.SIGINT)
      process.communicate(timeout=PATIENCE)
    finally:
      for one in (process, *others):
        one.kill()
        one.communicate()
  return Run(rows[-1]["step"] - rows[0]["step"], rows[-1]["time"] - rows[0]["time"], rows[1:])


def _rows_at_work(path, workers):
  """Lines of metrics.jsonl from the first that all workers have contributed to."""
  lines = path.read_text().splitlines(keepends=True) if path.exists() else []
  rows = [json.loads(line) for line in lines if line.endswith("\n")]
  started = (number for number, row in enumerate(rows)
             if not workers or min(row["crafted_per_second"][1:]) > 0)
  return rows[next(started, len(rows)):]


def asynchronous(rounds: int = 3, steps: int = 30, staleness_steps: int = 120, k: int = 8) -> None:
  """Examples/s of synchronous and asynchronous training, and how stale batches get."""
  commands = {"train.py": ("train.py", 0, {})}
  commands |= {f"async_train.py --workers {number}": ("async_train.py", number, {})
               for number in (0, 1, 2)}
  if importlib.util.find_spec("ray"):
    on_cluster = {"cluster": "local"}
    commands["async_train.py --workers 2 --cluster local"] = "async_train.py", 2, on_cluster
  speeds = collections.defaultdict(list)
  for _ in range(rounds):
    for name, (script, workers, settings) in commands.items():
      run = training_run(script, steps, workers, k=k, batch_size=BATCH_SIZE, **settings)
      speeds[name].append(BATCH_SIZE * run.steps / run.seconds)
  base = statistics.median(speeds["train.py"])
  print(f"asynchronous: κ = {k}, batch {BATCH_SIZE}, {devices.cores()} cores; median (range) of "
        f"{rounds} runs of {steps} steps\n")
  print("| command | examples/s | speedup |\n|---|---|---|")
  for name, values in speeds.items():
    print(f"| `{name}` | {spread(values, '.0f')} | {statistics.median(values) / base:.2f} |")
  print(f"\nStaleness in trainer steps, 2 workers, {staleness_steps} steps each\n")
  print("| κ | queue size | bound | mean | 95 % | max | thrown away | queue depth | "
        "trainer waiting | workers blocked |")
  print("|---|---|---|---|---|---|---|---|---|---|")
  # With κ = 1 crafting is no more work than learning: only there are two workers enough to fill the
  # queue.
  unbounded = itertools.product((k, 1), (1, 4, 16), (None,))
  for power, size, bound in [*unbounded, (k, 16, 8), (1, 16, 8)]:
    flags = {} if bound is None else {"max_staleness": bound}
    run = training_run("async_train.py", staleness_steps, 2, k=power, queue_size=size,
                       batch_size=BATCH_SIZE, **flags)
    values = ages.of(*(row["staleness_histogram"] for row in run.rows))
    print(f"| {power} | {size} | {'none' if bound is None else bound} | {np.mean(values):.1f} | "
          f"{np.percentile(values, 95):.0f} | {max(values)} | {run.rows[-1]['thrown_away']} | "
          f"{_mean(run, 'queue_depth'):.1f} | {_mean(run, 'trainer_waiting'):.0%} | "
          f"{_mean(run, 'workers_blocked'):.0%} |", flush=True)


def _mean(run, name):
  return statistics.mean(row[name] for row in run.rows)
