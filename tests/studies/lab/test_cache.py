"""Measurements that are made once."""

import json
import os

import pytest

from tf_madry.errors import UserError
from tf_madry.studies.lab import cache, machines


def test_measurements_are_kept_by_all_that_decides_them(tmp_path):
  calls = []

  def compute():
    calls.append(1)
    return len(calls)

  out = str(tmp_path)
  here = machines.here()
  assert [cache.remember(out, {"a": 1}, compute), cache.remember(out, {"a": 1}, compute),
          cache.remember(out, {"a": 2}, compute)] == [(1, here), (1, here), (2, here)]
  path = tmp_path / "cache" / f"{cache.digest({'a': 1})}.json"
  path.write_text(json.dumps({"key": {"a": 3}, "value": 7}))
  with pytest.raises(UserError, match="is a measurement with other settings than its name says"):
    cache.remember(out, {"a": 1}, compute)
  for damaged in ("{", '{"key": {"a": 1}}'):
    path.write_text(damaged)
    with pytest.raises(UserError, match="is damaged"):
      cache.remember(out, {"a": 1}, compute)
  path.write_text('{"key": {"a": 1}, "value": 5}')  # from before machines were recorded
  assert cache.remember(out, {"a": 1}, compute) == (5, None)


def test_a_failed_measurement_leaves_nothing(tmp_path):
  with pytest.raises(ZeroDivisionError):
    cache.remember(str(tmp_path), {"a": 1}, lambda: 1 / 0)
  assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_one_line():
  with pytest.raises(UserError, match="out '/dev/null/studies' cannot be written: Not a directory"):
    cache.prepare("/dev/null/studies")
