"""The ordinary stepper: which batches it takes, and what it leaves behind."""

import types

import numpy as np

from tf_madry.training import synchronous


def test_a_synchronous_run_takes_up_what_an_asynchronous_one_had_in_flight(monkeypatch):
  taken = []
  step = types.SimpleNamespace(run=lambda indices, step: taken.append(int(indices)), arrays=dict, restore=lambda checkpoint: None)
  monkeypatch.setattr(synchronous, "step_of", lambda learner: step)
  batches = types.SimpleNamespace(indices=lambda number: number)
  tickets = {"tickets/next_ticket": np.int64(9), "tickets/returned": np.int64([3, 4, 7])}  # 0-2, 5, 6 and 8 are done
  for steps, left in ((range(6, 7), [4, 7]), (range(7, 11), None)):  # with a stop in between
    stepper = synchronous.Synchronous(None, batches)
    stepper.restore(types.SimpleNamespace(arrays=tickets, step=steps[0]))
    for number in steps:
      stepper(number)
    tickets = stepper.arrays()
    assert tickets == {} if left is None else tickets["tickets/returned"].tolist() == left
  assert taken == [3, 4, 7, 9, 10]
