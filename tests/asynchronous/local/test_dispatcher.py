"""Slots and tickets step by step, with all workers in one process."""

import os

import numpy as np
import pytest

from tests.helpers.producers import BATCH, CONTEXT, SHAPE, SOON, arrays, whole
from tf_madry.asynchronous.local.dispatcher import Dispatcher
from tf_madry.asynchronous.local.slots import Producer, Slots, TrainerGone
from tf_madry.training.tickets import Tickets


@pytest.fixture
def desk():
  """A dispatcher whose two workers are in this process, to see every single step."""
  with Slots(1, BATCH, SHAPE) as slots:
    tickets = Tickets()
    dispatcher = Dispatcher(slots, tickets)
    pipes = [CONTEXT.Pipe() for _ in range(2)]
    alive, death = os.pipe()  # readable at its end: what a sentinel is
    for worker, (ours, _) in enumerate(pipes):
      dispatcher.add_worker(worker, ours, os.dup(alive))
    workers = [Producer(slots, theirs, worker) for worker, (_, theirs) in enumerate(pipes)]
    assert [worker.next_ticket(0) for worker in workers] == [None, None]
    assert dispatcher.ready() == 0  # hears of both, and deals
    yield slots, dispatcher, tickets, workers
    dispatcher.close()
    os.close(death)


def test_a_worker_that_is_still_starting_is_dealt_nothing():
  with Slots(2, BATCH, SHAPE) as slots:
    dispatcher = Dispatcher(slots, Tickets())
    pipes = [CONTEXT.Pipe() for _ in range(2)]
    for worker, (ours, _) in enumerate(pipes):
      dispatcher.add_worker(worker, ours, os.pipe()[0])
    late, early = (theirs for _, theirs in pipes)
    early = Producer(slots, early, 1)
    assert early.next_ticket(0) is None
    assert dispatcher.take(0) is None
    assert [early.publish(*arrays(early.next_ticket(0)), 0, 0) for _ in range(2)] == [True, True]
    assert not late.poll()
    dispatcher.close()


def test_with_one_slot_all_workers_work_and_take_turns(desk):
  _, dispatcher, _, workers = desk
  by = []
  for _ in range(10):
    tickets = [worker.next_ticket(0) for worker in workers]
    assert None not in tickets, "a worker has nothing to craft"
    published = [
      worker.publish(*arrays(ticket), 0, 0) for worker, ticket in zip(workers, tickets, strict=True)
    ]
    assert sorted(published) == [False, True]
    with dispatcher.take(0) as batch:
      assert published[batch.worker] and batch.ticket == tickets[batch.worker] == min(tickets)
      by.append(batch.worker)
      still = workers[1 - batch.worker]
      assert not still.publish(*arrays(still.next_ticket(0)), 0, 0), "the slot is being read"
  assert 3 <= sum(by) <= 7


def test_a_rejected_batch_is_crafted_again(desk):
  _, dispatcher, tickets, (worker, _) = desk
  assert worker.publish(*arrays(worker.next_ticket(0)), 0, 0)
  batch = dispatcher.take(0)
  batch.reject()
  batch.consume()  # too late
  assert tickets.draw() == 0


def test_a_batch_that_could_not_be_used_is_crafted_again(desk):
  _, dispatcher, tickets, (worker, _) = desk
  assert worker.publish(*arrays(worker.next_ticket(0)), 0, 0)
  with pytest.raises(ZeroDivisionError), dispatcher.take(0):
    raise ZeroDivisionError
  assert tickets.draw() == 0


@pytest.mark.parametrize("name", ["begun", "ended", "worker", "ticket"])
def test_a_torn_batch_is_discarded(desk, name):
  slots, dispatcher, tickets, (worker, other) = desk
  assert worker.publish(*arrays(worker.next_ticket(0)), 0, 0)
  slots[0].header[name] += 1
  assert dispatcher.take(0) is None
  assert dispatcher.torn == 1
  assert tickets.draw() == 0
  assert any(one.publish(*arrays(one.next_ticket(0)), 0, 0) for one in (worker, other)), (
    "the slot is lost"
  )
  with dispatcher.take(0) as batch:
    assert whole(batch)


def test_the_trainer_draws_tickets_of_its_own(desk):
  _, _, tickets, _ = desk
  own = tickets.draw()
  assert own == 4  # each worker holds two
  tickets.consume(own)
  with pytest.raises(KeyError):
    tickets.consume(own)
  assert {name: array.tolist() for name, array in tickets.arrays().items()} == {
    "tickets/next_ticket": 5, "tickets/returned": [0, 1, 2, 3]}


def test_batches_are_read_only_and_checked(desk):
  _, dispatcher, _, (worker, _) = desk
  images, labels = arrays(worker.next_ticket(0))
  for bad in (
    (images[:1], labels),
    (images.astype(np.float64), labels),
    (images, labels.astype(np.int64)),
  ):
    with pytest.raises(ValueError, match="a slot holds"):
      worker.publish(*bad, 0, 0)
  assert worker.publish(images, labels, 0, 0)
  with dispatcher.take(0) as batch, pytest.raises(ValueError, match="read-only"):
    batch.images[0] = 0


def test_waiting_has_an_end_on_both_sides(desk):
  _, dispatcher, _, (worker, _) = desk
  assert dispatcher.take(0.05) is None
  assert dispatcher.waited >= 0.05
  assert worker.publish(*arrays(0), 0, 0) and worker.publish(*arrays(1), 0, 0.05) is False
  assert worker.blocked >= 0.05
  dispatcher.close()
  with pytest.raises(TrainerGone):
    worker.publish(*arrays(1), 0, SOON)


@pytest.mark.parametrize("in_flight", [1, 3, 4])
def test_no_more_batches_than_allowed_are_on_their_way(in_flight):
  with Slots(4, 1, (1, 1, 1)) as slots:
    dispatcher = Dispatcher(slots, Tickets(), in_flight)
    workers = []
    for number in range(2):
      ours, theirs = CONTEXT.Pipe()
      dispatcher.add_worker(number, ours, os.pipe()[0])
      workers.append(Producer(slots, theirs, number))
      workers[-1].next_ticket(0)
    settled = []
    for step in range(20):
      dispatcher.ready()
      published = 0
      for number, worker in enumerate(workers):
        while (ticket := worker.next_ticket(0)) is not None:
          assert ticket < step + in_flight
          assert dispatcher.in_work()[number] == ticket
          assert dispatcher.at_work() > number
          assert worker.publish(np.zeros((1, 1, 1, 1), np.float32), np.zeros(1, np.int32), 0, 0), (
            "no slot for a ticket"
          )
          published += 1
          dispatcher.ready()
      assert published == (in_flight if step == 0 else 1)
      batch = dispatcher.take(0)
      settled += [batch.ticket] if step % 5 < 4 else []
      (batch.reject if step % 5 == 4 else batch.consume)()
    assert len(set(settled)) == len(settled) == 16
    dispatcher.close()
