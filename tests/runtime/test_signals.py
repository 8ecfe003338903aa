"""Stopping at the end of a step."""

import signal

import pytest

from tests.helpers.processes import until
from tf_madry.runtime import signals


@pytest.mark.parametrize("signum", signals.SIGNALS)
def test_a_signal_to_the_main_thread_is_seen_at_its_next_instruction(signum):
  before = signal.getsignal(signum)
  with signals.stop_requests() as request:
    assert request.signum == 0
    signal.raise_signal(signum)
    assert request.signum == signum
  assert signal.getsignal(signum) == before


def test_a_signal_during_a_long_call_is_seen_by_a_thread():
  with signals.stop_requests() as request:
    previous = signal.signal(signal.SIGTERM, lambda *_: None)  # Python's own never comes to run
    signal.raise_signal(signal.SIGTERM)
    until(lambda: request.signum == signal.SIGTERM)
    signal.signal(signal.SIGTERM, previous)
