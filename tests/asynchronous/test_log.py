"""What is counted of asynchronous training."""

import types

from tf_madry import config as configs
from tf_madry.asynchronous.log import Log


def test_the_time_that_a_replacement_was_blocked_counts_from_its_start():
  log = Log(configs.resolve({})[0], types.SimpleNamespace(waited=0.0, restarts=0, torn=0))
  # The last one is of a replacement.
  for blocked in (50.0, 70.0, 1.0):
    log.begin()
    log.add(0, 0, types.SimpleNamespace(worker=0, blocked=blocked))
  assert log.values()["workers_blocked"] > 0
