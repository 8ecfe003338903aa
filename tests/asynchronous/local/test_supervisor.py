"""Worker processes that are killed, frozen, interrupted, or cannot be started."""

import contextlib
import multiprocessing
import os
import pathlib
import resource
import signal
import types

import pytest

from tests.helpers.asynchronous import (
  NO_GPU,
  alive,
  all_craft,
  begin,
  blocks_ctrl_c,
  config,
  driver,
  newest,
  places_told,
  restarts,
  train,
  workers_of,
)
from tests.helpers.others import Cliff, limited, pretend_gpus
from tests.helpers.processes import until
from tf_madry import checkpoints
from tf_madry.asynchronous.local.placement import Placement
from tf_madry.asynchronous.local.status import Status
from tf_madry.asynchronous.local.supervisor import Supervisor
from tf_madry.errors import UserError
from tf_madry.training import loop
from tf_madry.training.stepper import StepperError


def test_workers_that_keep_dying_stop_the_run_with_a_checkpoint(tmp_path, capfd):
  with pytest.raises(
    UserError, match=r"6 workers were lost within 60 s; the last: worker 0 .* raised the same error"
  ):
    train(config(tmp_path, steps=100_000), Cliff(NO_GPU, 1), delay=0.01)
  assert capfd.readouterr().err.count("RuntimeError: over the edge") == 1
  step = newest(tmp_path).step
  assert step > 0
  assert multiprocessing.active_children() == []


def test_a_worker_that_there_are_no_descriptors_for_is_one_line():
  supervisor = Supervisor([Placement(NO_GPU, 1)], Status(1), types.SimpleNamespace(lost=[]), ())
  with limited(resource.RLIMIT_NOFILE, 0), pytest.raises(StepperError) as error:
    supervisor.look_after()
  assert str(error.value) == "worker 0 cannot be started: Too many open files"


def test_killed_frozen_and_interrupted(tmp_path):
  # A trainer that crafts would take the cores from workers that start.
  process = begin(tmp_path, "--workers=2", "--steps=100000", "--notrainer_assist")
  with contextlib.ExitStack() as stack:
    stack.callback(process.kill)
    until(lambda: all_craft(tmp_path))
    killed, frozen = workers_of(process)
    assert blocks_ctrl_c(killed) and blocks_ctrl_c(frozen)
    memory = [
      line
      for line in pathlib.Path(f"/proc/{process.pid}/maps").read_text().splitlines()
      if "/dev/shm/" in line
    ]
    assert memory and all(line.endswith("(deleted)") for line in memory), (
      "memory with a name could be left behind"
    )
    os.kill(killed, signal.SIGKILL)
    os.kill(frozen, signal.SIGSTOP)
    until(lambda: restarts(tmp_path) == 2)
    assert not alive(killed) and not alive(frozen)
    until(lambda: all_craft(tmp_path))
    workers = workers_of(process)
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGSTOP)
    os.killpg(process.pid, signal.SIGINT)  # what Ctrl-C does; the frozen one cannot hear it
    output, _ = process.communicate(timeout=60)
  assert process.returncode == 130, output
  assert not any(map(alive, workers))
  assert f"(process {killed}) was ended by signal 9" in output
  assert f"(process {frozen}) gave no sign of life for 10 s" in output
  assert output.count("warning:") == 2 and "Traceback" not in output and "leaked" not in output, (
    output
  )
  assert f"stopped after step {newest(tmp_path / 'run').step:,}" in output


def test_workers_leave_when_the_trainer_is_killed_and_the_run_goes_on(tmp_path, monkeypatch):
  loop.train(config(tmp_path / "run", steps=3))
  pretend_gpus(7, tmp_path, monkeypatch)
  monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6")
  process = begin(
    tmp_path,
    "--workers=2",
    "--steps=100000",
    "--devices=6,4",
    "--checkpoint_every=5",
    "--notrainer_assist",
    script=driver(tmp_path),
  )
  with contextlib.ExitStack() as stack:
    stack.callback(process.kill)
    until(lambda: all_craft(tmp_path))
    until(lambda: checkpoints.read_newest(str(tmp_path / "run")).step > 3)  # one of its own
    workers = workers_of(process)
    os.kill(workers[0], signal.SIGSTOP)  # not even one that is frozen stays, once it is thawed
    process.kill()
    until(lambda: not alive(workers[1]))
    os.kill(workers[0], signal.SIGCONT)
    until(lambda: not alive(workers[0]))
    output, _ = process.communicate(timeout=60)  # ends with the last process that has the pipe
  assert "Traceback" not in output and "leaked" not in output, output
  assert places_told(output) == ["place 4 0 0", "place 6 0 0", "place 6 0 0"]
  step = newest(tmp_path / "run").step
  assert step % 5 == 0
  train(config(tmp_path / "run", steps=step + 3), Placement(NO_GPU, 1))
  assert newest(tmp_path / "run").step == step + 3
