"""Numbers as people read them."""

import pytest

from tf_madry.runtime import text


@pytest.mark.parametrize(("seconds", "expected"), [(3, "3 s"), (99, "99 s"), (720, "12 min"), (20_400, "5 h 40 min")])
def test_durations(seconds, expected):
  assert text.duration(seconds) == expected


def test_intervals():
  assert text.percent_interval((0.9132, 0.924)) == "91.32% to 92.40%"
