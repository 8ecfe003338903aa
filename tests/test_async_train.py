"""async_train.py: where its processes work, what it accepts, and what it is without workers."""

import os

import numpy as np
import pytest

from tests.helpers.asynchronous import NO_GPU, begin, config, driver, places_told, rows, train
from tests.helpers.processes import run
from tf_madry import checkpoints
from tf_madry.asynchronous.local.placement import Placement, placements
from tf_madry.errors import UserError
from tf_madry.runtime import devices
from tf_madry.settings import AsyncConfig
from tf_madry.training import loop


def test_without_workers_it_is_train_py(tmp_path):
  process = begin(tmp_path, "--workers=0", "--steps=5")
  output, _ = process.communicate(timeout=120)
  assert process.returncode == 0, output
  loop.train(config(tmp_path / "synchronous", steps=5))
  ours, theirs = (
    checkpoints.read_newest(str(tmp_path / name)).arrays for name in ("run", "synchronous")
  )
  assert ours.keys() == theirs.keys()
  assert [name for name in ours if not np.array_equal(ours[name], theirs[name])] == ["elapsed"]


def test_every_process_is_where_it_should_be(tmp_path, monkeypatch):
  monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
  process = begin(
    tmp_path, "--workers=1", "--steps=5", "--notrainer_assist", script=driver(tmp_path)
  )
  output, _ = process.communicate(timeout=120)
  assert process.returncode == 0, output
  if not devices.gpus():
    placed, _ = placements(AsyncConfig(workers=1))
    assert places_told(output) == sorted(
      f"place -1 {place.threads} {place.threads}" for place in placed
    )
  assert rows(tmp_path)[-1]["crafted_per_second"][0] == 0


@pytest.mark.parametrize(
  ("given", "said"),
  [
    ("--workers=-1", "workers is -1, accepted: a whole number of processes"),
    ("--workers=two", "two"),
    ("--queue_size=0", "queue_size is 0"),
    ("--reload_every=0", "reload_every is 0"),
    ("--max_staleness=-1", "max_staleness is -1"),
    ("--devices=77", "devices is '77'"),
    ("--reload_from=disk", "checkpoint|memory"),
    (
      "--max_staleness=8 --reload_from=checkpoint",
      "reload_from is 'checkpoint', accepted: memory where there is",
    ),
  ],
)
def test_bad_input_is_one_line_and_makes_nothing(tmp_path, given, said):
  code, output = run("async_train.py", *given.split(), cwd=tmp_path)
  assert code == 2
  assert said in output
  assert len(output.splitlines()) == 1, output
  assert os.listdir(tmp_path) == []


def test_a_queue_too_large_for_the_memory_is_one_line(tmp_path):
  with pytest.raises(
    UserError, match=r"a queue of 1000000000 batches of 16 images needs \d+ bytes of shared memory"
  ):
    train(config(tmp_path, queue_size=10**9), Placement(NO_GPU, 1))
