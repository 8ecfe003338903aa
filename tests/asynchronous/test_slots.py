"""The ring between real processes, with real kills."""

import contextlib
import multiprocessing
import os
import random
import signal
import time

import numpy as np
import pytest

from tests.asynchronous.test_tickets import consumed_once
from tf_madry.asynchronous.local.dealer import Dealer, Tickets
from tf_madry.asynchronous.local.slots import Ring, RingWorker, TrainerGone

CONTEXT = multiprocessing.get_context("spawn")
BATCH, SHAPE = 64, (16, 16, 1)  # 64 KiB of images: long enough to write that a kill hits the middle
SOON = 30  # seconds; nothing here takes as long unless it is broken


def arrays(ticket):
  return np.full((BATCH, *SHAPE), ticket, np.float32), np.full(BATCH, ticket, np.int32)


def whole(batch):
  return (batch.images == batch.ticket).all() and (batch.labels == batch.ticket).all()


# What the processes do.


def craft(ring, connection, worker, pause=0.0):
  hand = RingWorker(ring, connection, worker)
  with contextlib.suppress(TrainerGone):
    while (ticket := hand.next_ticket(SOON)) is not None:
      time.sleep(pause)
      hand.publish(*arrays(ticket), ticket, SOON)


class Suicide:
  """Labels that kill who reads them; by then the images are in the slot."""

  def __array__(self, dtype=None, copy=None):
    os.kill(os.getpid(), signal.SIGKILL)


def die_within_batch(ring, connection, worker, good):
  hand = RingWorker(ring, connection, worker)
  for _ in range(good):
    hand.publish(*arrays(hand.next_ticket(SOON)), 0, SOON)
  hand.publish(np.full((BATCH, *SHAPE), -1, np.float32), Suicide(), hand.next_ticket(SOON), SOON)


class Crew:
  """A trainer's ring and dealer, and the workers it starts."""

  def __init__(self, slots, tickets=None):
    self.tickets = tickets or Tickets()
    self.ring = Ring(slots, BATCH, SHAPE)
    self.dealer = Dealer(self.ring, self.tickets)
    self.processes = {}

  def start(self, worker, target, *args):
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=target, args=(self.ring, theirs, worker, *args), daemon=True)
    process.start()
    theirs.close()
    self.processes[worker] = process
    self.dealer.add_worker(worker, ours, process.sentinel)

  def kill(self, worker):
    process = self.processes.pop(worker)
    process.kill()
    process.join()
    return self.dealer.remove_worker(worker)

  def hear(self, worker):
    """Waits until the worker has been dealt something, and not a moment longer."""
    while not self.dealer._hands[worker].crafting:
      assert self.dealer.ready() == 0
      time.sleep(0.001)

  def take(self):
    batch = self.dealer.take(SOON)
    assert batch is not None, "no batch in time"
    return batch

  def fill(self):
    deadline = time.monotonic() + SOON
    while self.dealer.ready() < len(self.ring.slots):
      assert time.monotonic() < deadline, "the ring does not fill"
      time.sleep(0.01)


@pytest.fixture
def crew():
  made = []

  def make(*args):
    made.append(Crew(*args))
    return made[-1]

  yield make
  for one in made:
    one.dealer.close()
    for process in one.processes.values():
      process.join(SOON)
      assert process.exitcode == 0  # they leave by themselves when the pipe ends
    one.ring.close()


@pytest.fixture
def desk():
  """A dealer whose two workers are in this process, to see every single step."""
  with Ring(1, BATCH, SHAPE) as ring:
    dealer = Dealer(ring, Tickets())
    pipes = [CONTEXT.Pipe() for _ in range(2)]
    alive, death = os.pipe()  # readable at its end: what a sentinel is
    for worker, (ours, _) in enumerate(pipes):
      dealer.add_worker(worker, ours, os.dup(alive))
    workers = [RingWorker(ring, theirs, worker) for worker, (_, theirs) in enumerate(pipes)]
    assert [worker.next_ticket(0) for worker in workers] == [None, None]
    assert dealer.ready() == 0  # hears of both, and deals
    yield ring, dealer, workers
    dealer.close()
    os.close(death)


# Each batch once and whole.


@pytest.mark.parametrize("slots, workers, crafting, training, batches", [
  (4, 2, 0.0, 0.002, 300),  # fast producers, slow consumer
  (4, 2, 0.004, 0.0, 300),  # the reverse
  (16, 3, 0.0, 0.0, 2000),
  (1, 2, 0.0, 0.0, 1000),
])
def test_every_batch_is_consumed_once_and_whole(crew, slots, workers, crafting, training, batches):
  crew = crew(slots)
  for worker in range(workers):
    crew.start(worker, craft, crafting)
  consumed, by = [], set()
  while len(consumed) < batches or len(by) < workers:
    assert len(consumed) < 100_000, f"only {by} get a slot"
    with crew.take() as batch:
      assert whole(batch)
      time.sleep(training)
      assert whole(batch), "overwritten while it was held"
      assert batch.weights_step == batch.ticket
    consumed.append(batch.ticket)
    by.add(batch.worker)
    assert crew.dealer.ready() <= slots
  consumed_once(consumed, crew.tickets)
  assert crew.dealer.torn == 0


def test_nothing_is_lost_or_doubled_by_workers_killed_within_a_batch(crew):
  crew = crew(3)
  chance = random.Random(0)
  consumed = []
  steady, suicidal, murdered = range(3)
  crew.start(steady, craft, 0.001)
  for _ in range(6):
    crew.start(suicidal, die_within_batch, chance.randrange(4))
    crew.start(murdered, craft)
    until = len(consumed) + chance.randrange(50, 200)
    while len(consumed) < until or suicidal in crew.processes:
      if batch := crew.dealer.take(SOON):
        with batch:
          assert whole(batch)
        consumed.append(batch.ticket)
      if crew.dealer.lost:
        assert crew.dealer.lost == [suicidal]
        crew.processes[suicidal].join()
        assert crew.processes[suicidal].exitcode == -signal.SIGKILL
        crew.kill(suicidal)
    crew.kill(murdered)
  consumed_once(consumed, crew.tickets)
  assert max(consumed) - len(consumed) < 12, "what comes back is dealt before anything new"
  assert crew.dealer.torn == 0


def test_a_frozen_worker_is_replaced(crew):
  crew = crew(2)
  crew.start(0, craft)
  crew.take().consume()
  os.kill(crew.processes[0].pid, signal.SIGSTOP)
  consumed = [0]
  while batch := crew.dealer.take(0.3):
    with batch:
      consumed.append(batch.ticket)
  assert crew.dealer.lost == []
  with pytest.raises(RuntimeError, match="alive"):
    crew.dealer.remove_worker(0)
  crew.kill(0)
  crew.start(0, craft)
  for _ in range(50):
    with crew.take() as batch:
      assert whole(batch)
      consumed.append(batch.ticket)
  consumed_once(consumed, crew.tickets)


@pytest.mark.parametrize("noticed", [True, False])
def test_what_a_worker_announced_outlives_it(crew, noticed):
  crew = crew(4)
  crew.start(0, die_within_batch, 1)
  crew.hear(0)
  crew.processes[0].join()
  if noticed:
    assert crew.dealer.ready() == 1
    assert crew.dealer.lost == [0]
  assert crew.kill(0) == [1]
  assert crew.dealer.lost == []
  crew.start(0, craft)
  for ticket in range(10):
    with crew.take() as batch:
      assert (batch.ticket, whole(batch)) == (ticket, True)
      assert batch.sequence == max(1, ticket)  # the second process counts anew


def test_the_death_of_a_worker_ends_the_wait(crew):
  crew = crew(4)
  crew.start(0, die_within_batch, 0)
  start = time.monotonic()
  assert crew.dealer.take(SOON) is None
  assert time.monotonic() - start < SOON
  assert crew.dealer.lost == [0]
  crew.processes[0].join()
  crew.kill(0)


# Slots and tickets, step by step.


def test_a_full_ring_blocks_the_worker(crew):
  crew = crew(3)
  crew.start(0, craft)
  crew.fill()
  time.sleep(0.5)
  assert crew.dealer.ready() == 3
  batches = []
  for ticket in range(4):
    with crew.take() as batch:
      assert batch.ticket == ticket
    batches.append(batch)
  assert batches[3].blocked - batches[2].blocked > 0.1


def test_a_worker_that_is_still_starting_is_dealt_nothing():
  with Ring(2, BATCH, SHAPE) as ring:
    dealer = Dealer(ring, Tickets())
    pipes = [CONTEXT.Pipe() for _ in range(2)]
    for worker, (ours, _) in enumerate(pipes):
      dealer.add_worker(worker, ours, os.pipe()[0])
    late, early = (theirs for _, theirs in pipes)
    early = RingWorker(ring, early, 1)
    assert early.next_ticket(0) is None
    assert dealer.take(0) is None
    assert [early.publish(*arrays(early.next_ticket(0)), 0, 0) for _ in range(2)] == [True, True]
    assert not late.poll()
    dealer.close()


def test_with_one_slot_all_workers_work_and_take_turns(desk):
  _, dealer, workers = desk
  by = []
  for _ in range(10):
    tickets = [worker.next_ticket(0) for worker in workers]
    assert None not in tickets, "a worker has nothing to craft"
    published = [worker.publish(*arrays(ticket), 0, 0) for worker, ticket in zip(workers, tickets, strict=True)]
    assert sorted(published) == [False, True]
    with dealer.take(0) as batch:
      assert published[batch.worker] and batch.ticket == tickets[batch.worker] == min(tickets)
      by.append(batch.worker)
      still = workers[1 - batch.worker]
      assert not still.publish(*arrays(still.next_ticket(0)), 0, 0), "the slot is being read"
  assert 3 <= sum(by) <= 7


def test_a_rejected_batch_is_crafted_again(desk):
  _, dealer, (worker, _) = desk
  assert worker.publish(*arrays(worker.next_ticket(0)), 0, 0)
  batch = dealer.take(0)
  batch.reject()
  batch.consume()  # too late
  assert dealer._tickets.draw() == 0


def test_a_batch_that_could_not_be_used_is_crafted_again(desk):
  _, dealer, (worker, _) = desk
  assert worker.publish(*arrays(worker.next_ticket(0)), 0, 0)
  with pytest.raises(ZeroDivisionError), dealer.take(0):
    raise ZeroDivisionError
  assert dealer._tickets.draw() == 0


@pytest.mark.parametrize("name", ["begun", "ended", "worker", "ticket"])
def test_a_torn_batch_is_discarded(desk, name):
  ring, dealer, (worker, other) = desk
  assert worker.publish(*arrays(worker.next_ticket(0)), 0, 0)
  ring.slots[0].header[name] += 1
  assert dealer.take(0) is None
  assert dealer.torn == 1
  assert dealer._tickets.draw() == 0
  assert any(one.publish(*arrays(one.next_ticket(0)), 0, 0) for one in (worker, other)), "the slot is lost"
  with dealer.take(0) as batch:
    assert whole(batch)


def test_the_trainer_draws_tickets_of_its_own(desk):
  _, dealer, _ = desk
  tickets = dealer._tickets
  own = tickets.draw()
  assert own == 4  # each worker holds two
  tickets.consume(own)
  with pytest.raises(KeyError):
    tickets.consume(own)
  assert tickets.state() == {"next_ticket": 5, "returned": [0, 1, 2, 3]}


def test_batches_are_read_only_and_checked(desk):
  _, dealer, (worker, _) = desk
  images, labels = arrays(worker.next_ticket(0))
  for bad in ((images[:1], labels), (images.astype(np.float64), labels), (images, labels.astype(np.int64))):
    with pytest.raises(ValueError, match="the ring holds"):
      worker.publish(*bad, 0, 0)
  assert worker.publish(images, labels, 0, 0)
  with dealer.take(0) as batch, pytest.raises(ValueError, match="read-only"):
    batch.images[0] = 0


def test_waiting_has_an_end_on_both_sides(desk):
  _, dealer, (worker, _) = desk
  assert dealer.take(0.05) is None
  assert dealer.waited >= 0.05
  assert worker.publish(*arrays(0), 0, 0) and worker.publish(*arrays(1), 0, 0.05) is False
  assert worker.blocked >= 0.05
  dealer.close()
  with pytest.raises(TrainerGone):
    worker.publish(*arrays(1), 0, SOON)


# Stop and go on.


def test_a_run_that_was_stopped_consumes_what_was_on_its_way(crew):
  state, consumed = {}, []
  for stop in (10, 25, 45):
    one = crew(4, Tickets(**{name: np.array(value, np.int64) for name, value in state.items()}))  # from a checkpoint
    for worker in range(2):
      one.start(worker, craft)
    one.fill()
    while len(consumed) < stop:
      with one.take() as batch:
        consumed.append(batch.ticket)
    state = one.tickets.state()
    consumed_once(consumed, one.tickets)
  assert max(consumed) - len(consumed) < 12, "what was on its way is dealt before anything new"
