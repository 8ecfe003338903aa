"""What it costs to hand over batches and weights from process to process."""

import multiprocessing
import time
from typing import NamedTuple

import numpy as np

from tf_madry import cli
from tf_madry.asynchronous.local.dispatcher import Dispatcher
from tf_madry.asynchronous.local.slots import Producer, Slots, TrainerGone
from tf_madry.benchmark.rounds import BATCH_SIZE, IMAGE_SHAPE, PATIENCE, spread
from tf_madry.training.tickets import Tickets


class Throughput(NamedTuple):
  """Batches/s of each round, through shared slots and through `multiprocessing.Queue`."""

  slots: list[float]
  queue: list[float]


def queue_throughput(rounds: int = 5, batches: int = 1000, slots: int = 16) -> Throughput:
  """Measures how many batches pass between two processes in a second, in rounds that alternate.

  A batch is 128×784 float32 images and int32 labels. A second process makes them from a prepared
  array as fast as it can; this one adds up their pixels.

  Args:
    rounds: how often each queue is measured.
    batches: how many batches are timed in a round, after the queue has been emptied once.
    slots: size of both queues.

  Returns:
    `Throughput`.
  """
  context = multiprocessing.get_context("spawn")
  result = Throughput([], [])
  with Slots(slots, BATCH_SIZE, IMAGE_SHAPE) as shared:
    dispatcher = Dispatcher(shared, Tickets())
    ours, theirs = context.Pipe()
    queue = context.Queue(slots)
    producers = [
      context.Process(target=_fill_slots, args=(shared, theirs), daemon=True),
      context.Process(target=_fill_queue, args=(queue, rounds * (slots + batches)), daemon=True),
    ]
    for producer in producers:
      producer.start()
    theirs.close()
    dispatcher.add_worker(0, ours, producers[0].sentinel)

    def from_slots():
      with dispatcher.take(PATIENCE) as batch:
        return batch.images.sum()

    def from_queue():
      images, _ = queue.get(timeout=PATIENCE)
      return images.sum()

    for _ in range(rounds):
      for rates, take in zip(result, (from_slots, from_queue), strict=True):
        for _ in range(slots):
          take()
        start = time.perf_counter()
        for _ in range(batches):
          take()
        rates.append(batches / (time.perf_counter() - start))
    dispatcher.close()
    for producer in producers:
      producer.join()
  return result


def _prepared_batch():
  images = np.random.default_rng(0).random((BATCH_SIZE, *IMAGE_SHAPE), np.float32)
  return images, np.zeros(BATCH_SIZE, np.int32)


def _fill_slots(slots, connection):
  images, labels = _prepared_batch()
  worker = Producer(slots, connection, worker=0)
  try:
    while worker.next_ticket(PATIENCE) is not None and worker.publish(images, labels, 0, PATIENCE):
      pass
  except TrainerGone:
    pass


def _fill_queue(queue, batches):
  batch = _prepared_batch()
  for _ in range(batches):
    queue.put(batch)


def queue() -> None:
  """The shared-memory slots of asynchronous training against `multiprocessing.Queue`."""
  result = queue_throughput()
  print("queue: batches of 128×784 float32 from process to process, median (range) of "
        f"{len(result.slots)} rounds")
  ratios = [slots / queue for slots, queue in zip(*result, strict=True)]
  print(f"  shared slots           {spread(result.slots, ',.0f')} batches/s")
  print(f"  multiprocessing.Queue  {spread(result.queue, ',.0f')} batches/s")
  print(f"  ratio                  {spread(ratios, '.1f')}")


def weights(rounds: int = 30) -> None:
  """What it costs the trainer to publish its weights, and a worker to take them over."""
  cli.load_tensorflow()
  from tf_madry import config, datasets
  from tf_madry.benchmark import costs
  from tf_madry.training.learner import Learner
  dataset, settings = datasets.load(), config.resolve({"k": 1})[0]  # crafting is not looked at
  batches = datasets.Batches(len(dataset.train), BATCH_SIZE, settings.training.seed)
  learner = Learner(settings, dataset)
  _, learn, publish, reload = costs.measure(learner, batches, rounds).values()
  saved = costs.saved(learner, rounds)
  print(f"weights: median of {rounds} rounds on a batch of {BATCH_SIZE}")
  print(f"  the trainer's step, crafting left out  {learn * 1e3:.1f} ms")
  print(f"  publishing in memory                   {publish * 1e3:.1f} ms: "
        f"{publish / learn / 100:.2%} of its time when done every 100 steps, {publish / learn:.1%} "
        "when done every step")
  print(f"  a worker's reloading from memory       {reload * 1e3:.1f} ms")
  print(f"  publishing in files                    {saved.publish * 1e3:.1f} ms, and "
        f"{saved.write * 1e3:.1f} ms in a thread: every 100 steps {saved.publish / 50:.3%} of the "
        f"time at 2 steps/s, {saved.publish / 0.2:.1%} at 500")
  print(f"  a worker's reloading from files        {saved.reload * 1e3:.1f} ms")
  slower = costs.slowdown(learner, max(1, rounds // 3))
  print(f"  500 steps/s, weights every 100 steps   {slower:.1%} slower than without, all that the "
        "thread takes included")
