"""Measures parts of the system on this machine: `python -m tf_madry.benchmark queue`, or all without a name."""

import multiprocessing
import statistics
import sys
import time
from typing import NamedTuple

import numpy as np
from absl import app

from tf_madry import cli
from tf_madry.asynchronous.dealer import Dealer, Tickets
from tf_madry.asynchronous.ring import Ring, RingWorker, TrainerGone
from tf_madry.errors import UserError, require

BATCH_SIZE, IMAGE_SHAPE = 128, (28, 28, 1)  # of the paper's training (§6)
PATIENCE = 60  # seconds until a partner that says nothing is given up


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


def _spread(values, form):
  return f"{statistics.median(values):{form}} ({min(values):{form}}–{max(values):{form}})"


BENCHMARKS = {benchmark.__name__: benchmark for benchmark in (queue,)}


def main(argv):
  """Runs the benchmarks that are named on the command line."""
  names = argv[1:] or list(BENCHMARKS)
  for name in names:
    require(name in BENCHMARKS, "benchmark", name, ", ".join(BENCHMARKS))
  for name in names:
    BENCHMARKS[name]()


if __name__ == "__main__":
  try:
    app.run(main)
  except UserError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(cli.ERROR_CODE)
