"""The bound on staleness: how often weights are reloaded, and how many batches are on their way at once."""

import multiprocessing
import os

import numpy as np
import pytest

from tf_madry.asynchronous import trainer
from tf_madry.asynchronous.local.dealer import Dealer, Tickets
from tf_madry.asynchronous.local.slots import Ring, RingWorker
from tf_madry.config import AsyncConfig


@pytest.mark.parametrize("reload_every", [1, 100])
def test_the_pace_keeps_the_bound(reload_every):
  for bound in range(200):
    every, in_flight = trainer.pace(AsyncConfig(max_staleness=bound, reload_every=reload_every))
    assert 1 <= every <= reload_every and in_flight >= 1
    assert (every - 1) + (in_flight - 1) <= bound
  assert trainer.pace(AsyncConfig(reload_every=reload_every)) == (reload_every, None)


@pytest.mark.parametrize("in_flight", [1, 3, 4])
def test_no_more_batches_than_allowed_are_on_their_way(in_flight):
  with Ring(4, 1, (1, 1, 1)) as ring:
    dealer = Dealer(ring, Tickets(), in_flight)
    workers = []
    for number in range(2):
      ours, theirs = multiprocessing.get_context("spawn").Pipe()
      dealer.add_worker(number, ours, os.pipe()[0])
      workers.append(RingWorker(ring, theirs, number))
      workers[-1].next_ticket(0)
    settled = []
    for step in range(20):
      dealer.ready()
      published = 0
      for number, hand in enumerate(workers):
        while (ticket := hand.next_ticket(0)) is not None:
          assert ticket < step + in_flight
          assert dealer.in_work()[number] == ticket
          assert hand.publish(np.zeros((1, 1, 1, 1), np.float32), np.zeros(1, np.int32), 0, 0), "no slot for a ticket"
          published += 1
          dealer.ready()
      assert published == (in_flight if step == 0 else 1)
      batch = dealer.take(0)
      settled += [batch.ticket] if step % 5 < 4 else []
      (batch.reject if step % 5 == 4 else batch.consume)()
    assert len(set(settled)) == len(settled) == 16
    dealer.close()
