"""Measures parts of the system on this machine: `python -m tf_madry.benchmark core queue weights asynchronous`.

On two cores `core` and `loop` take some minutes, `asynchronous` a quarter of an hour, the others seconds.
"""

import collections
import copy
import itertools
import json
import multiprocessing
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

import numpy as np

from tf_madry import cli
from tf_madry.asynchronous import devices
from tf_madry.asynchronous.dealer import Dealer, Tickets
from tf_madry.asynchronous.ring import Ring, RingWorker, TrainerGone
from tf_madry.asynchronous.weights import Weights
from tf_madry.errors import require

BATCH_SIZE, IMAGE_SHAPE = 128, (28, 28, 1)  # of the paper's training (§6)
PATIENCE = 60  # seconds until a partner that says nothing is given up
ROOT = pathlib.Path(__file__).resolve().parent.parent


# Multiplications and additions of one example's forward pass and input gradient: two convolutions, two dense layers.
GRADIENT_FLOP = 2 * 2 * (28 * 28 * 25 * 32 + 14 * 14 * 25 * 32 * 64 + 3136 * 1024 + 1024 * 10)


def alternate(calls, rounds):
  """Times calls in turn, so that what else the machine does hits all of them; the first round is left out.

  Args:
    calls: {name: function}, each waiting for what it started.
    rounds: how often each is timed.

  Returns:
    {name: list of seconds}.
  """
  times = {name: [] for name in calls}
  for _ in range(1 + rounds):
    for name, call in calls.items():
      start = time.perf_counter()
      call()
      times[name].append(time.perf_counter() - start)
  return {name: values[1:] for name, values in times.items()}


def core(batch_sizes=(50, 128, 512), rounds=9, k=8):
  """One PGD gradient and one training step, against a textbook's code and against the machine's matrix products."""
  cli.load_tensorflow()
  floors = matrix_products(rounds)
  print(f"core: median (range) of {rounds} rounds in turn, compiling left out, {devices.cores()} cores; matrix products: "
        + ", ".join(f"{precision} {rate / 1e9:,.0f} GFLOP/s" for precision, rate in floors.items()))
  print("\n| batch | what | code | ms | speedup | of the matrix-product rate |\n|---|---|---|---|---|---|")
  for batch_size in batch_sizes:
    for what, k_timed in (("PGD gradient", 1), (f"training step, κ = {k}", k)):
      calls = _core_calls(batch_size, what, k_timed)
      times = alternate(calls, rounds)
      # A training step has κ gradients, and a forward pass with the gradient of the weights, which is the same work.
      gradients = 1 if what == "PGD gradient" else k + 1
      for name, values in times.items():
        seconds = statistics.median(values)
        floor = gradients * batch_size * GRADIENT_FLOP / floors[name.split()[-1]]
        print(f"| {batch_size} | {what} | {name} | {_spread([1e3 * value for value in values], '.1f')} | "
              f"{statistics.median(times['textbook float32']) / seconds:.2f} | {floor / seconds:.0%} |", flush=True)


def matrix_products(rounds, size=2048):
  """{precision: FLOP/s} of products of square matrices, as TensorFlow does them here."""
  import tensorflow as tf
  product = tf.function(tf.matmul)
  matrices = {precision: tf.ones((size, size), precision) for precision in ("float32", "bfloat16")}
  times = alternate({precision: lambda matrix=matrix: product(matrix, matrix)[0, 0].numpy()
                     for precision, matrix in matrices.items()}, rounds)
  return {precision: 2 * size**3 / statistics.median(values) for precision, values in times.items()}


def _core_calls(batch_size, what, k):
  import tensorflow as tf

  from tf_madry import config, datasets, textbook
  from tf_madry import model as network
  from tf_madry.attacks import PGD
  from tf_madry.learner import Learner
  dataset = datasets.load()
  images, labels = datasets.as_float(tf.constant(dataset.train.images[:batch_size])), dataset.train.labels[:batch_size]
  model = textbook.build()
  attack = textbook.attack_of(model)
  if what == "PGD gradient":
    calls = {"textbook float32": lambda: attack(images, labels, tf.constant(k)).numpy()}
    for precision in ("float32", "bfloat16"):
      ours = network.build(dtype=precision)
      calls[f"tf_madry {precision}"] = lambda ours=ours: PGD(k=k)(ours, images, labels).numpy()
    return calls
  step = textbook.step_of(model, attack)
  calls = {"textbook float32": lambda: step(images, labels, tf.constant(k)).numpy()}
  indices = tf.range(batch_size)
  for precision in ("float32", "bfloat16"):
    learner = Learner(config.resolve({"k": k, "batch_size": batch_size, "precision": precision})[0], dataset)
    calls[f"tf_madry {precision}"] = lambda learner=learner: float(learner.step(indices, tf.constant(0)).loss)
  return calls


def loop(steps=60, every=20):
  """What train.py spends outside of its steps: until the first one, and on progress and checkpoints; and its memory."""
  first = _train(1, 1)
  run = _train(steps, every)
  rows = run.rows
  inside = sum(every * BATCH_SIZE / row["examples_per_second"] for row in rows[1:])
  print(f"loop: train.py, κ = 8, batch {BATCH_SIZE}, {devices.cores()} cores")
  print(f"  from the command to the end of the first step  {first.seconds:.1f} s, compiling included")
  print(f"  inside the steps                               {inside / (rows[-1]['time'] - rows[0]['time']):.1%} of the time, "
        f"with progress, summaries and a checkpoint every {every} steps")
  print(f"  peak memory                                    {run.memory / 2**20:,.0f} MiB")


class Training(NamedTuple):
  """A whole run of train.py: seconds until the first of its `rows` of metrics.jsonl, peak `memory` in bytes."""

  rows: list
  seconds: float
  memory: int


def _train(steps, every):
  with tempfile.TemporaryDirectory() as folder:
    config, metrics = os.path.join(folder, "config.json"), pathlib.Path(folder, "run", "metrics.jsonl")
    with open(config, "w", encoding="utf-8") as file:
      json.dump({"log_every": every, "summary_every": every, "checkpoint_every": every, "eval_every": 0}, file)
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, ROOT / "train.py", f"--config={config}", f"--model_dir={folder}/run",
                                f"--steps={steps}"], stdout=subprocess.DEVNULL)
    try:
      while not (metrics.exists() and metrics.read_text().endswith("\n")):
        if process.poll() is not None:
          raise RuntimeError(f"train.py ended with exit code {process.returncode}")
        time.sleep(0.02)
      seconds = time.perf_counter() - start
      _, _, usage = os.wait4(process.pid, 0)
      process.returncode = 0
    finally:
      process.kill()
    return Training([json.loads(line) for line in metrics.read_text().splitlines()], seconds, 1024 * usage.ru_maxrss)


class Throughput(NamedTuple):
  """Batches/s of each round, through the ring and through `multiprocessing.Queue`; the rounds alternated."""

  ring: list
  queue: list


def queue_throughput(rounds=5, batches=1000, slots=16):
  """Measures how many batches of 128×784 float32 images (and int32 labels) pass between two processes in a second.

  A second process makes them from a prepared array as fast as it can; this one adds up their pixels.

  Args:
    rounds: how often each queue is measured.
    batches: how many batches are timed in a round, after the queue has been emptied once.
    slots: size of both queues.

  Returns:
    `Throughput`.
  """
  context = multiprocessing.get_context("spawn")
  result = Throughput([], [])
  with Ring(slots, BATCH_SIZE, IMAGE_SHAPE) as ring:
    dealer = Dealer(ring, Tickets())
    ours, theirs = context.Pipe()
    queue = context.Queue(slots)
    producers = [
      context.Process(target=_fill_ring, args=(ring, theirs), daemon=True),
      context.Process(target=_fill_queue, args=(queue, rounds * (slots + batches)), daemon=True),
    ]
    for producer in producers:
      producer.start()
    theirs.close()
    dealer.add_worker(0, ours, producers[0].sentinel)

    def from_ring():
      with dealer.take(PATIENCE) as batch:
        return batch.images.sum()

    def from_queue():
      images, _ = queue.get(timeout=PATIENCE)
      return images.sum()

    for _ in range(rounds):
      for rates, take in zip(result, (from_ring, from_queue), strict=True):
        for _ in range(slots):
          take()
        start = time.perf_counter()
        for _ in range(batches):
          take()
        rates.append(batches / (time.perf_counter() - start))
    dealer.close()
    for producer in producers:
      producer.join()
  return result


def _prepared_batch():
  images = np.random.default_rng(0).random((BATCH_SIZE, *IMAGE_SHAPE), np.float32)
  return images, np.zeros(BATCH_SIZE, np.int32)


def _fill_ring(ring, connection):
  images, labels = _prepared_batch()
  worker = RingWorker(ring, connection, worker=0)
  try:
    while worker.next_ticket(PATIENCE) is not None and worker.publish(images, labels, 0, PATIENCE):
      pass
  except TrainerGone:
    pass


def _fill_queue(queue, batches):
  batch = _prepared_batch()
  for _ in range(batches):
    queue.put(batch)


def queue():
  """The shared-memory ring of asynchronous training against `multiprocessing.Queue`."""
  result = queue_throughput()
  print(f"queue: batches of 128×784 float32 from process to process, median (range) of {len(result.ring)} rounds")
  print(f"  ring                   {_spread(result.ring, ',.0f')} batches/s")
  print(f"  multiprocessing.Queue  {_spread(result.queue, ',.0f')} batches/s")
  print(f"  ratio                  {_spread([ring / queue for ring, queue in zip(*result, strict=True)], '.1f')}")


def weights(rounds=30):
  """What it costs the trainer to publish its weights, and a worker to take them over."""
  cli.load_tensorflow()
  import tensorflow as tf

  from tf_madry import config, datasets
  from tf_madry.learner import Learner
  learner = Learner(config.resolve({})[0], datasets.load())
  batch = learner.batch(tf.range(BATCH_SIZE))
  variables = learner.trained.weights
  ours = Weights([variable.shape for variable in variables])
  theirs = copy.copy(ours)  # as a worker has it
  times = []
  for step in range(rounds + 1):
    start = time.perf_counter()
    float(learner.learn(*batch, tf.constant(step)).loss)
    learnt = time.perf_counter()
    ours.publish(step, variables)
    published = time.perf_counter()
    for variable, array in zip(variables, theirs.fetch(), strict=True):
      variable.assign(array)
    times.append((learnt - start, published - learnt, time.perf_counter() - published))
  learn, publish, reload = map(statistics.median, zip(*times[1:], strict=True))  # the first compiles
  print(f"weights: median of {rounds} rounds on a batch of {BATCH_SIZE}")
  print(f"  the trainer's step, crafting left out  {learn * 1e3:.1f} ms")
  print(f"  publishing                             {publish * 1e3:.1f} ms: {publish / learn / 100:.2%} of its time when "
        f"done every 100 steps, {publish / learn:.1%} when done every step")
  print(f"  a worker's reloading                   {reload * 1e3:.1f} ms")


class Run(NamedTuple):
  """The measured part of a run: `steps`, `seconds`, and its lines of metrics.jsonl as `rows`."""

  steps: int
  seconds: float
  rows: list


def training_run(script, steps, workers=0, **flags):
  """Runs a training script for as long as it takes to see so many steps with all workers at work.

  What comes before, compiling and the start of the workers, is left out.
  """
  with tempfile.TemporaryDirectory() as folder:
    config = os.path.join(folder, "config.json")
    with open(config, "w", encoding="utf-8") as file:
      json.dump({"log_every": 10, "eval_every": 0, "checkpoint_every": 10**9}, file)
    flags |= {"workers": workers} if script == "async_train.py" else {}
    command = [sys.executable, ROOT / script, f"--config={config}", f"--model_dir={folder}/run", "--steps=1000000",
               *(f"--{name}={value}" for name, value in flags.items())]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
      rows = []
      while not rows or rows[-1]["step"] - rows[0]["step"] < steps:
        time.sleep(0.2)
        if process.poll() is not None:
          raise RuntimeError(f"{script} ended: {process.stdout.read()}")
        rows = _rows_at_work(pathlib.Path(folder, "run", "metrics.jsonl"), workers)
      process.send_signal(signal.SIGINT)
      process.communicate(timeout=PATIENCE)
    finally:
      process.kill()
  return Run(rows[-1]["step"] - rows[0]["step"], rows[-1]["time"] - rows[0]["time"], rows[1:])


def _rows_at_work(path, workers):
  """Lines of metrics.jsonl from the first that all workers have contributed to."""
  lines = path.read_text().splitlines(keepends=True) if path.exists() else []
  rows = [json.loads(line) for line in lines if line.endswith("\n")]
  started = (number for number, row in enumerate(rows)
             if not workers or min(row["crafted_per_second"][1:]) > 0)
  return rows[next(started, len(rows)):]


def asynchronous(rounds=3, steps=30, staleness_steps=120, k=8):
  """Examples/s of synchronous and asynchronous training, and how stale batches get."""
  commands = {"train.py": ("train.py", 0)}
  commands |= {f"async_train.py --workers {number}": ("async_train.py", number) for number in (0, 1, 2)}
  speeds = collections.defaultdict(list)
  for _ in range(rounds):
    for name, (script, workers) in commands.items():
      run = training_run(script, steps, workers, k=k, batch_size=BATCH_SIZE)
      speeds[name].append(BATCH_SIZE * run.steps / run.seconds)
  base = statistics.median(speeds["train.py"])
  print(f"asynchronous: κ = {k}, batch {BATCH_SIZE}, {devices.cores()} cores; median (range) of {rounds} runs of "
        f"{steps} steps\n")
  print("| command | examples/s | speedup |\n|---|---|---|")
  for name, values in speeds.items():
    print(f"| `{name}` | {_spread(values, '.0f')} | {statistics.median(values) / base:.2f} |")
  print(f"\nStaleness in trainer steps, 2 workers, {staleness_steps} steps each\n")
  print("| κ | queue size | bound | mean | 95 % | max | thrown away | queue depth | trainer waiting | workers blocked |")
  print("|---|---|---|---|---|---|---|---|---|---|")
  # With κ = 1 crafting is no more work than learning: only there are two workers enough to fill the queue.
  for power, size, bound in [*itertools.product((k, 1), (1, 4, 16), (None,)), (k, 16, 8), (1, 16, 8)]:
    flags = {} if bound is None else {"max_staleness": bound}
    run = training_run("async_train.py", staleness_steps, 2, k=power, queue_size=size, batch_size=BATCH_SIZE, **flags)
    values = _staleness(run)
    print(f"| {power} | {size} | {'none' if bound is None else bound} | {np.mean(values):.1f} | "
          f"{np.percentile(values, 95):.0f} | {max(values)} | {run.rows[-1]['thrown_away']} | "
          f"{_mean(run, 'queue_depth'):.1f} | {_mean(run, 'trainer_waiting'):.0%} | {_mean(run, 'workers_blocked'):.0%} |",
          flush=True)


def _staleness(run):
  """That of every batch of the run."""
  return [int(value) for row in run.rows for value, count in row["staleness_histogram"].items() for _ in range(count)]


def _mean(run, name):
  return statistics.mean(row[name] for row in run.rows)


def _spread(values, form):
  return f"{statistics.median(values):{form}} ({min(values):{form}}–{max(values):{form}})"


BENCHMARKS = {benchmark.__name__: benchmark for benchmark in (core, loop, queue, weights, asynchronous)}


def main(names):
  """Runs the benchmarks of these names, all of them without any; returns the exit code."""
  for name in names:
    require(name in BENCHMARKS, "benchmark", name, ", ".join(BENCHMARKS))
  for name in names or BENCHMARKS:
    BENCHMARKS[name]()
  return 0


if __name__ == "__main__":
  cli.run(main, takes_names=True)
