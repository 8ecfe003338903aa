"""The time of a simulation."""

import pytest

from tf_madry.studies.lab.clock import Clock


def ends(clock, count):
  return [(clock.next(), clock.now) for _ in range(count)]


def test_jobs_share_cores_evenly():
  clock = Clock(cores=2)
  for what, cost in enumerate((1.0, 2.0, 3.0)):
    clock.start(what, cost)
  # Three jobs at 2/3 of the speed until 1.5, then two at full speed.
  assert ends(clock, 3) == [(0, pytest.approx(1.5)), (1, pytest.approx(2.5)), (2, pytest.approx(3.5))]


def test_threads_share_cores_evenly():
  clock = Clock(cores=4)
  for what in range(3):
    clock.start(what, 1.0, threads=2)
  assert ends(clock, 3) == [(what, pytest.approx(3 / 4)) for what in range(3)]
  clock = Clock(cores=2)
  clock.start("two", 4.0, threads=2)
  clock.start("one", 1.0)
  # Each thread at 2/3 of its speed: the first has done 4/3 · 1.5 when the other ends.
  assert ends(clock, 2) == [("one", pytest.approx(1.5)), ("two", pytest.approx(2.5))]


def test_devices_of_their_own_hold_nobody_up():
  clock = Clock()
  for what, threads in (("slow", 1), ("quick", 2)):
    clock.start(what, 2.0, threads)
  assert ends(clock, 2) == [("quick", 1.0), ("slow", 2.0)]


def test_events_take_their_time_whatever_the_cores_do():
  clock = Clock(cores=1)
  clock.start("job", 1.0)
  clock.start("other", 1.0)
  clock.after("event", 1.5)
  assert ends(clock, 1) == [("event", 1.5)]
  clock.after("late", 0.6)  # after the first job has ended, which two slowed down to half
  assert ends(clock, 3) == [("job", 2.0), ("other", 2.0), ("late", pytest.approx(2.1))]
