"""A worker process: it crafts the batches it is dealt, with the newest weights there are (§5)."""

import os
import signal
import sys
import threading
import time
import traceback
from multiprocessing import connection as mp_connection
from multiprocessing import parent_process
from multiprocessing.connection import Connection

from tf_madry import datasets
from tf_madry.asynchronous.local.placement import Placement
from tf_madry.asynchronous.local.slots import Producer, Slots, TrainerGone
from tf_madry.asynchronous.local.status import Status
from tf_madry.asynchronous.weights import Weights
from tf_madry.config import Config

BEAT = 0.5  # seconds between two signs of life
_PATIENCE = 1.0  # seconds of a wait that is begun again at its end
_LAST_WORDS = 10_000  # characters of a traceback: what a pipe takes from who does not wait


def run(worker: int, placement: Placement, config: Config, slots: Slots, weights: Weights,
        status: Status, connection: Connection, last_words: Connection) -> None:
  """What the process does until the trainer has gone.

  Args:
    worker: its number, from 0.
    placement: where it works.
    config: of the run.
    slots: where finished batches go.
    weights: what it crafts with; the trainer has published the first ones.
    status: where it shows that it is alive.
    connection: the worker's end of the pipe to the trainer's `Dispatcher`.
    last_words: writable end of a pipe for the traceback, should there be one.
  """
  # Ctrl-C goes to every process of a terminal; the trainer ends its workers itself.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  row, ready = status.rows[worker:worker + 1], threading.Event()
  threading.Thread(target=_live, args=(row, ready), daemon=True).start()
  try:
    placement.apply()
    _work(worker, config, slots, weights, row, connection, ready)
  except TrainerGone:
    pass
  except Exception:
    last_words.send_bytes(traceback.format_exc()[-_LAST_WORDS:].encode())
    sys.exit(1)


def _live(row, ready):
  """Gives signs of life, and ends the process as soon as its parent, the trainer, is dead."""
  while not mp_connection.wait([parent_process().sentinel], BEAT):
    row["beats"] += ready.is_set()
  os._exit(1)


def _work(worker, config, slots, weights, row, connection, ready):
  import tensorflow as tf

  from tf_madry.training.learner import Learner
  from tf_madry.training.step import AdversarialStep
  dataset = datasets.load(config.training.dataset)
  batches = datasets.Batches(len(dataset.train), config.training.batch_size, config.training.seed)
  learner = Learner(config, dataset)
  step = AdversarialStep(learner)

  def craft(ticket):
    return step.craft(tf.constant(batches.indices(ticket)), tf.constant(ticket))

  def reload():
    for variable, array in zip(learner.trained.weights, weights.fetch() or (), strict=False):
      variable.assign(array)
    return weights.step

  craft(0)  # compiles: nobody should have to wait for it once there is a batch to be made
  while reload() is None:
    time.sleep(BEAT)
  ready.set()
  producer = Producer(slots, connection, worker)
  while True:
    while (ticket := producer.next_ticket(_PATIENCE)) is None:
      pass
    row["weights_step"], row["ticket"] = reload(), ticket
    images, labels = craft(ticket)
    while not producer.publish(images, labels, weights.step, _PATIENCE):
      pass
