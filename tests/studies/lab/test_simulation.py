"""The simulation of asynchronous training against what can be said without one."""

import itertools

import pytest

from tf_madry.errors import UserError
from tf_madry.studies.lab.simulation import Costs, simulate, summary

COSTS = Costs(craft=0.8, learn=0.1)


def test_without_workers_it_is_synchronous_training():
  outcome = simulate(COSTS, workers=0)
  assert outcome.rate == pytest.approx(1 / 0.9)
  assert outcome.staleness == {0: 2000}
  assert outcome.waiting == outcome.blocked == 0


@pytest.mark.parametrize("workers", [1, 3, 7])
def test_few_workers_are_the_bottleneck(workers):
  outcome = simulate(COSTS, workers=workers, assist=False)
  assert outcome.rate == pytest.approx(workers / 0.8, rel=1e-3)
  assert outcome.waiting == pytest.approx(1 - workers / 8, abs=1e-3)
  assert outcome.blocked == 0


@pytest.mark.parametrize("workers", [9, 16, 64])
def test_many_workers_make_the_trainer_the_bottleneck(workers):
  outcome = simulate(COSTS, workers=workers)
  assert outcome.rate == pytest.approx(1 / 0.1)
  assert outcome.waiting == 0
  assert outcome.blocked == pytest.approx(1 - 8 / workers, rel=0.02)


def test_a_trainer_that_assists_spends_on_it_what_time_the_workers_leave():
  outcome = simulate(COSTS, workers=2)
  theirs = 2 / 0.8
  assert outcome.rate == pytest.approx(theirs + (1 - theirs * 0.1) / 0.9, rel=0.01)
  assert outcome.waiting == 0
  assert simulate(COSTS, workers=2, assist=False).rate < outcome.rate


def test_a_full_queue_has_one_staleness():
  # Ahead of a batch that is begun: all that the queue holds, and what the other workers have in
  # hand.
  outcome = simulate(COSTS, workers=12, queue_size=4, reload_every=1)
  assert outcome.staleness == {4 + 12 - 1: 2000}


def test_snapshots_add_up_to_their_distance_to_staleness():
  often, seldom = (simulate(COSTS, workers=12, queue_size=4, reload_every=every)
                   for every in (1, 100))
  ages = [age for age, count in seldom.staleness.items() for _ in range(count)]
  assert min(ages) == 15 and max(ages) == 15 + 99
  means = [summary(outcome.staleness)["staleness_mean"] for outcome in (often, seldom)]
  assert means[1] == pytest.approx(means[0] + 99 / 2, rel=0.01)


def test_staleness_is_summed_up_over_batches():
  assert summary({3: 1, 0: 18, 9: 1}) == {"staleness_mean": 0.6, "staleness_p95": 3,
                                          "staleness_max": 9}


@pytest.mark.parametrize(("workers", "assist"), [(1, True), (2, False), (3, True)])
def test_processes_on_one_core_make_nothing_faster(workers, assist):
  outcome = simulate(COSTS, workers=workers, assist=assist, cores=1)
  assert outcome.rate == pytest.approx(1 / 0.9, rel=0.01)


def test_snapshots_cost_what_they_cost():
  outcome = simulate(Costs(craft=0.8, learn=0.1, publish=0.05), workers=20, reload_every=10)
  assert outcome.rate == pytest.approx(10 / (10 * 0.1 + 0.05))
  slow = simulate(Costs(craft=0.8, learn=0.1, reload=0.2), workers=2, reload_every=1, assist=False)
  assert slow.rate == pytest.approx(2 / 1.0, rel=0.01)


def test_threads_are_used_while_there_are_cores():
  # Nobody else is there: half of the cores are the trainer's, and a worker's is the other half.
  assert simulate(COSTS, workers=1, cores=4, assist=False).rate == pytest.approx(2 / 0.8, rel=1e-3)


def test_more_workers_are_never_slower():
  rates = [simulate(COSTS, workers=workers, assist=False).rate for workers in range(1, 12)]
  assert all(later >= earlier * (1 - 1e-9) for earlier, later in itertools.pairwise(rates))


def test_bad_costs_and_nobody_to_craft_are_one_line():
  with pytest.raises(UserError, match=r"craft is 0, accepted: seconds, above 0"):
    Costs(craft=0, learn=1)
  with pytest.raises(UserError, match=r"publish is -1, accepted: seconds, at least 0"):
    Costs(craft=1, learn=1, publish=-1)
  with pytest.raises(UserError,
                     match=r"workers is 0, accepted: at least 1 where the trainer does not assist"):
    simulate(COSTS, workers=0, assist=False)
