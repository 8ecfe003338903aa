"""A worker process: it crafts the batches it is dealt, with the newest weights there are (§5)."""

import os
import signal
import sys
import threading
import time
import traceback
from multiprocessing import connection as mp_connection
from multiprocessing import parent_process

import numpy as np

from tf_madry import datasets
from tf_madry.asynchronous.local.slots import RingWorker, Segment, TrainerGone

BEAT = 0.5  # seconds between two signs of life
_PATIENCE = 1.0  # seconds of a wait that is begun again at its end
_LAST_WORDS = 10_000  # characters of a traceback: no more than a pipe takes from somebody who does not wait


class Board:
  """What the trainer can see of each worker at any time, in shared memory.

  Attributes:
    rows: one a worker: `beats`, a count that goes on for as long as the worker is able to work, once it has begun to;
      `ticket`, the batch that it began last, and `weights_step`, the trainer step of the weights it began it with.
  """

  _ROW = np.dtype([("beats", np.int64), ("ticket", np.int64), ("weights_step", np.int64)])

  def __init__(self, workers, directory=None):
    self._segment = Segment(workers * self._ROW.itemsize, f"the state of {workers} workers", directory)
    self._map()

  def _map(self):
    self.rows = np.frombuffer(self._segment.buffer, self._ROW)

  def __getstate__(self):
    return self._segment

  def __setstate__(self, segment):
    self._segment = segment
    self._map()

  def close(self):
    """Gives up this process's share of the memory."""
    self.rows = None
    self._segment.close()


def run(worker, place, config, ring, weights, board, connection, last_words):
  """What the process does until the trainer has gone.

  Args:
    worker: its id, an integer from 0.
    place: `devices.Place`.
    config: `Config`.
    ring: `ring.Ring`.
    weights: `weights.Weights`; the trainer has published the first ones.
    board: `Board`.
    connection: the worker's end of the pipe to the trainer's `Dealer`.
    last_words: writable end of a pipe for the traceback, should there be one.
  """
  # Ctrl-C goes to every process of a terminal; the trainer ends its workers itself.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  row, ready = board.rows[worker:worker + 1], threading.Event()
  threading.Thread(target=_live, args=(row, ready), daemon=True).start()
  try:
    place.apply()
    _work(worker, config, ring, weights, row, connection, ready)
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


def _work(worker, config, ring, weights, row, connection, ready):
  import tensorflow as tf

  from tf_madry.training.learner import Learner
  dataset = datasets.load(config.training.dataset)
  batches = datasets.Batches(len(dataset.train), config.training.batch_size, config.training.seed)
  learner = Learner(config, dataset)

  def craft(ticket):
    return learner.craft(tf.constant(batches.indices(ticket)), tf.constant(ticket))

  def reload():
    for variable, array in zip(learner.trained.weights, weights.fetch() or (), strict=False):
      variable.assign(array)
    return weights.step

  craft(0)  # compiles: nobody should have to wait for it once there is a batch to be made
  while reload() is None:
    time.sleep(BEAT)
  ready.set()
  hand = RingWorker(ring, connection, worker)
  while True:
    while (ticket := hand.next_ticket(_PATIENCE)) is None:
      pass
    row["weights_step"], row["ticket"] = reload(), ticket
    images, labels = craft(ticket)
    while not hand.publish(images, labels, weights.step, _PATIENCE):
      pass
