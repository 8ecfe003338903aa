"""The simulation of a cluster against what can be said without one."""

import pytest

from tf_madry.errors import UserError
from tf_madry.studies.lab import simulation
from tf_madry.studies.lab.cluster import Network, simulate
from tf_madry.studies.lab.simulation import Costs, summary

COSTS = Costs(craft=0.8, learn=0.1)
FREE = Network(bandwidth=1e15)  # a network that costs nothing


@pytest.mark.parametrize("workers", [1, 3, 7])
def test_few_workers_are_the_bottleneck_of_a_network_that_costs_nothing(workers):
  outcome = simulate(COSTS, FREE, workers=workers, assist=False)
  assert outcome.rate == pytest.approx(workers / 0.8, rel=1e-3)
  assert outcome.waiting == pytest.approx(1 - workers / 8, abs=1e-3)
  assert outcome.idle == pytest.approx(0, abs=1e-3) and outcome.own == 0


@pytest.mark.parametrize("workers", [9, 16, 64])
def test_many_workers_wait_for_the_trainer_and_make_batches_old(workers):
  outcome = simulate(COSTS, FREE, workers=workers, queue_size=4, reload_every=1)
  assert outcome.rate == pytest.approx(1 / 0.1)
  assert outcome.idle == pytest.approx(1 - 8 / workers, rel=0.02)
  # One is asked for when another has been trained on; all the others on their way come before it.
  # Those that wait in hand are begun with newer weights than were there when they were asked for.
  found = summary(outcome.staleness)
  assert found["staleness_max"] <= 4 + workers - 1
  more = summary(simulate(COSTS, FREE, workers=2 * workers, queue_size=4,
                          reload_every=1).staleness)
  assert more["staleness_mean"] == pytest.approx(found["staleness_mean"] + workers, rel=0.1)


def test_it_is_as_fast_as_processes_of_one_machine_where_the_network_costs_nothing():
  for workers in (2, 5, 12):
    for assist in (True, False):
      ours, theirs = (simulate(COSTS, FREE, workers=workers, assist=assist),
                      simulation.simulate(COSTS, workers=workers, assist=assist))
      assert ours.rate == pytest.approx(theirs.rate, rel=0.02)


def test_taking_batches_in_and_looking_after_workers_is_time_of_the_trainer():
  network = Network(bandwidth=1e15, ingest=0.05, watch=0.001)
  outcome = simulate(COSTS, network, workers=20)
  assert outcome.rate == pytest.approx(1 / (0.1 + 0.05 + 20 * 0.001))


def test_weights_for_many_nodes_fill_the_link():
  # 20 nodes, 100 bytes each, 1,000 bytes/s: 2 s for the weights of ten steps that take 1 s.
  network = Network(bandwidth=1e3, weights=100, batch=1, per_node=1)
  outcome = simulate(COSTS, network, workers=20, reload_every=10, assist=False)
  assert outcome.rate == pytest.approx(10 / 2, rel=0.02)
  assert outcome.weights_out == pytest.approx(1, abs=0.02)
  # A worker waits for the weights that were published when it was asked: the trainer slows down
  # rather than that batches get older.
  assert summary(outcome.staleness)["staleness_max"] <= 20 + 16 - 1 + 9
  enough = simulate(COSTS, Network(bandwidth=1e5, weights=100, batch=1, per_node=1), workers=20,
                    reload_every=10, assist=False)
  assert enough.rate == pytest.approx(10) and enough.weights_out == pytest.approx(0.02, rel=0.01)


def test_a_node_fetches_weights_once_for_all_of_its_workers():
  for per_node, nodes in ((1, 12), (4, 3), (5, 3)):
    network = Network(bandwidth=1e6, weights=1_000, batch=1, per_node=per_node)
    outcome = simulate(COSTS, network, workers=12, reload_every=10)
    assert outcome.weights_out == pytest.approx(nodes * 1e-3 / (10 * 0.1), rel=0.01)


def test_batches_of_many_workers_fill_the_link():
  outcome = simulate(COSTS, Network(bandwidth=1e3, batch=200, weights=1), workers=20, assist=False)
  assert outcome.rate == pytest.approx(1e3 / 200, rel=0.01)
  assert outcome.batches_in == pytest.approx(1, abs=0.01)


def test_a_batch_in_hand_makes_up_for_a_slow_answer():
  slow = Network(bandwidth=1e15, latency=0.2)
  assert simulate(COSTS, slow, workers=2, assist=False).rate == pytest.approx(2 / 0.8, rel=0.01)
  # Longer than it takes to craft the other one, there and back.
  slower = Network(bandwidth=1e15, latency=1.0)
  outcome = simulate(COSTS, slower, workers=1, assist=False)
  assert outcome.rate == pytest.approx(2 / (2 * 1.0 + 0.8 + 0.1), rel=0.1)


def test_threads_on_shared_cores_make_nothing_faster():
  outcome = simulate(COSTS, FREE, workers=2, cores=2)
  assert outcome.rate == pytest.approx(2 / 0.9, rel=0.01)


def test_a_bad_network_and_nobody_to_craft_are_one_line():
  with pytest.raises(UserError, match=r"bandwidth is 0, accepted: a number, above 0"):
    Network(bandwidth=0)
  with pytest.raises(UserError, match=r"latency is -1, accepted: a number, at least 0"):
    Network(bandwidth=1, latency=-1)
  with pytest.raises(UserError, match=r"workers is 0, accepted: at least 1"):
    simulate(COSTS, FREE, workers=0)
