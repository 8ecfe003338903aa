"""Processes that fill the queue with batches that can be told whole from torn.

Without TensorFlow: they start quickly.
"""

import contextlib
import multiprocessing
import os
import signal
import time

import numpy as np

from tf_madry.asynchronous.local.dispatcher import Dispatcher
from tf_madry.asynchronous.local.slots import Producer, Slots, TrainerGone
from tf_madry.training.tickets import Tickets

CONTEXT = multiprocessing.get_context("spawn")
BATCH, SHAPE = 64, (16, 16, 1)  # 64 KiB of images: long enough to write that a kill hits the middle
SOON = 30  # seconds; nothing here takes as long unless it is broken


def consumed_once(consumed, tickets):
  """Every ticket below the next one is either consumed, once, or still to come."""
  arrays = tickets.arrays()
  assert sorted(consumed + arrays["tickets/returned"].tolist()) == list(
    range(arrays["tickets/next_ticket"])
  )


def arrays(ticket):
  return np.full((BATCH, *SHAPE), ticket, np.float32), np.full(BATCH, ticket, np.int32)


def whole(batch):
  return (batch.images == batch.ticket).all() and (batch.labels == batch.ticket).all()


def craft(slots, connection, worker, pause=0.0):
  producer = Producer(slots, connection, worker)
  with contextlib.suppress(TrainerGone):
    while (ticket := producer.next_ticket(SOON)) is not None:
      time.sleep(pause)
      producer.publish(*arrays(ticket), ticket, SOON)


class Suicide:
  """Labels that kill who reads them; by then the images are in the slot."""

  def __array__(self, dtype=None, copy=None):
    os.kill(os.getpid(), signal.SIGKILL)


def die_within_batch(slots, connection, worker, good):
  producer = Producer(slots, connection, worker)
  for _ in range(good):
    producer.publish(*arrays(producer.next_ticket(SOON)), 0, SOON)
  producer.publish(
    np.full((BATCH, *SHAPE), -1, np.float32), Suicide(), producer.next_ticket(SOON), SOON
  )


class Trainer:
  """A trainer's slots and dispatcher, and the workers that it starts."""

  def __init__(self, slots, tickets=None):
    self.tickets = tickets or Tickets()
    self.slots = Slots(slots, BATCH, SHAPE)
    self.dispatcher = Dispatcher(self.slots, self.tickets)
    self.processes = {}

  def start(self, worker, target, *args):
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=target, args=(self.slots, theirs, worker, *args), daemon=True)
    process.start()
    theirs.close()
    self.processes[worker] = process
    self.dispatcher.add_worker(worker, ours, process.sentinel)

  def kill(self, worker):
    process = self.processes.pop(worker)
    process.kill()
    process.join()
    return self.dispatcher.remove_worker(worker)

  def hear(self, worker):
    """Waits until the worker has been dealt something, and not a moment longer."""
    while worker not in self.dispatcher.in_work():
      assert self.dispatcher.ready() == 0
      time.sleep(0.001)

  def take(self):
    batch = self.dispatcher.take(SOON)
    assert batch is not None, "no batch in time"
    return batch

  def fill(self):
    deadline = time.monotonic() + SOON
    while self.dispatcher.ready() < len(self.slots):
      assert time.monotonic() < deadline, "the queue does not fill"
      time.sleep(0.01)
