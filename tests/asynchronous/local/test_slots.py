"""The queue of batches between real processes, with real kills."""

import os
import random
import signal
import time

import pytest

from tests.helpers.producers import SOON, Trainer, consumed_once, craft, die_within_batch, whole
from tf_madry.training.tickets import Tickets


@pytest.fixture
def trainer():
  made = []

  def make(*args):
    made.append(Trainer(*args))
    return made[-1]

  yield make
  for one in made:
    one.dispatcher.close()
    for process in one.processes.values():
      process.join(SOON)
      assert process.exitcode == 0  # they leave by themselves when the pipe ends
    one.slots.close()

# Each batch once and whole.


@pytest.mark.parametrize("slots, workers, crafting, training, batches", [
  (4, 2, 0.0, 0.002, 300),  # fast producers, slow consumer
  (4, 2, 0.004, 0.0, 300),  # the reverse
  (16, 3, 0.0, 0.0, 2000),
  (1, 2, 0.0, 0.0, 1000),
])
def test_every_batch_is_consumed_once_and_whole(
  trainer, slots, workers, crafting, training, batches
):
  trainer = trainer(slots)
  for worker in range(workers):
    trainer.start(worker, craft, crafting)
  consumed, by = [], set()
  while len(consumed) < batches or len(by) < workers:
    assert len(consumed) < 100_000, f"only {by} get a slot"
    with trainer.take() as batch:
      assert whole(batch)
      time.sleep(training)
      assert whole(batch), "overwritten while it was held"
      assert batch.weights_step == batch.ticket
    consumed.append(batch.ticket)
    by.add(batch.worker)
    assert trainer.dispatcher.ready() <= slots
  consumed_once(consumed, trainer.tickets)
  assert trainer.dispatcher.torn == 0


def test_nothing_is_lost_or_doubled_by_workers_killed_within_a_batch(trainer):
  trainer = trainer(3)
  chance = random.Random(0)
  consumed = []
  steady, suicidal, murdered = range(3)
  trainer.start(steady, craft, 0.001)
  for _ in range(6):
    trainer.start(suicidal, die_within_batch, chance.randrange(4))
    trainer.start(murdered, craft)
    until = len(consumed) + chance.randrange(50, 200)
    while len(consumed) < until or suicidal in trainer.processes:
      if batch := trainer.dispatcher.take(SOON):
        with batch:
          assert whole(batch)
        consumed.append(batch.ticket)
      if trainer.dispatcher.lost:
        assert trainer.dispatcher.lost == [suicidal]
        trainer.processes[suicidal].join()
        assert trainer.processes[suicidal].exitcode == -signal.SIGKILL
        trainer.kill(suicidal)
    trainer.kill(murdered)
  consumed_once(consumed, trainer.tickets)
  assert max(consumed) - len(consumed) < 12, "what comes back is dealt before anything new"
  assert trainer.dispatcher.torn == 0


def test_a_frozen_worker_is_replaced(trainer):
  trainer = trainer(2)
  trainer.start(0, craft)
  trainer.take().consume()
  os.kill(trainer.processes[0].pid, signal.SIGSTOP)
  consumed = [0]
  while batch := trainer.dispatcher.take(0.3):
    with batch:
      consumed.append(batch.ticket)
  assert trainer.dispatcher.lost == []
  with pytest.raises(RuntimeError, match="alive"):
    trainer.dispatcher.remove_worker(0)
  trainer.kill(0)
  trainer.start(0, craft)
  for _ in range(50):
    with trainer.take() as batch:
      assert whole(batch)
      consumed.append(batch.ticket)
  consumed_once(consumed, trainer.tickets)


@pytest.mark.parametrize("noticed", [True, False])
def test_what_a_worker_announced_outlives_it(trainer, noticed):
  trainer = trainer(4)
  trainer.start(0, die_within_batch, 1)
  trainer.hear(0)
  trainer.processes[0].join()
  if noticed:
    assert trainer.dispatcher.ready() == 1
    assert trainer.dispatcher.lost == [0]
  assert trainer.kill(0) == [1]
  assert trainer.dispatcher.lost == []
  trainer.start(0, craft)
  for ticket in range(10):
    with trainer.take() as batch:
      assert (batch.ticket, whole(batch)) == (ticket, True)


def test_the_death_of_a_worker_ends_the_wait(trainer):
  trainer = trainer(4)
  trainer.start(0, die_within_batch, 0)
  start = time.monotonic()
  assert trainer.dispatcher.take(SOON) is None
  assert time.monotonic() - start < SOON
  assert trainer.dispatcher.lost == [0]
  trainer.processes[0].join()
  trainer.kill(0)


def test_a_full_queue_blocks_the_worker(trainer):
  trainer = trainer(3)
  trainer.start(0, craft)
  trainer.fill()
  time.sleep(0.5)
  assert trainer.dispatcher.ready() == 3
  batches = []
  for ticket in range(4):
    with trainer.take() as batch:
      assert batch.ticket == ticket
    batches.append(batch)
  assert batches[3].blocked - batches[2].blocked > 0.1


def test_a_run_that_was_stopped_consumes_what_was_on_its_way(trainer):
  arrays, consumed = {}, []
  for stop in (10, 25, 45):
    one = trainer(4, Tickets.after(len(consumed), arrays))  # from a checkpoint
    for worker in range(2):
      one.start(worker, craft)
    one.fill()
    while len(consumed) < stop:
      with one.take() as batch:
        consumed.append(batch.ticket)
    arrays = one.tickets.arrays()
    consumed_once(consumed, one.tickets)
  assert max(consumed) - len(consumed) < 12, "what was on its way is dealt before anything new"
