import contextlib
import fcntl
import pty
import resource
import struct
import sys
import termios

import numpy as np
import pytest

from tests.helpers.training import rows
from tf_madry import config as configs
from tf_madry.errors import UserError
from tf_madry.training import progress as progress_lib

VALUES = {"natural_accuracy": 0.9, "adversarial_accuracy": 0.5, "loss": 1.25}


def config(folder, **settings):
  return configs.resolve({"model_dir": str(folder), "steps": 50, "log_every": 5, "summary_every": 10, **settings})[0]


def test_lines_metrics_and_an_estimate(tmp_path, capsys):
  progress = progress_lib.Progress(config(tmp_path))
  progress.timed(30.0)  # the compiling step: in no speed
  for step in range(2, 26):
    progress.timed(0.5)
    progress.report(step, VALUES, np.zeros((4, 28, 28, 1), np.float32))
  progress.close()
  out = capsys.readouterr().out
  assert "50 steps will take about 25 s" in out
  assert "step 25/50  nat 90.0%  adv 50.0%  loss 1.2500  2.00 steps/s, 12 s left" in out
  assert [row["step"] for row in rows(tmp_path)] == [5, 10, 15, 20, 25]
  assert rows(tmp_path)[0] | VALUES == rows(tmp_path)[0]
  assert rows(tmp_path)[0]["examples_per_second"] == 256.0


def test_steps_that_have_not_their_pace_yet_tell_nothing_of_what_is_left(tmp_path, capsys):
  progress = progress_lib.Progress(config(tmp_path, steps=200))
  for step in range(1, 62):
    slow = step <= 32 or step == 41  # at 41, a worker is replaced
    progress.timed(3.0 if slow else 0.5, "1 of 2 workers still starting" if slow else "")
    progress.report(step, VALUES, np.zeros((4, 28, 28, 1), np.float32))
  progress.close()
  *lines, estimate = capsys.readouterr().out.splitlines()
  assert estimate == "200 steps will take about 2 min (extrapolated from 20 steps; compiling left out)"
  paces = [line.rpartition("  ")[2] for line in lines]
  assert paces[5:7] == ["0.33 steps/s, 1 of 2 workers still starting", "0.67 steps/s, 82 s left"]
  assert paces[8] == "1.00 steps/s, 78 s left"
  assert [row["examples_per_second"] for row in rows(tmp_path)][5:7] == [42.7, 85.3]  # as it was


def test_tensorboard_has_the_tags_of_the_challenge(tmp_path):
  progress = progress_lib.Progress(config(tmp_path))
  progress.report(10, VALUES, np.zeros((4, 28, 28, 1), np.float32))
  progress.close()
  from tensorboard.backend.event_processing import event_accumulator
  events = event_accumulator.EventAccumulator(str(tmp_path)).Reload()
  tags = events.Tags()["tensors"]
  assert {"accuracy adv train", "accuracy adv", "xent adv train", "xent adv", "images adv train"} <= set(tags)
  event = events.Tensors("xent adv")[0]
  assert (event.step, event.tensor_proto.float_val[0] if event.tensor_proto.float_val else
          np.frombuffer(event.tensor_proto.tensor_content, np.float32)[0]) == (10, pytest.approx(1.25))


def test_resuming_says_no_step_twice_and_drops_a_torn_line(tmp_path):
  path = tmp_path / "metrics.jsonl"
  path.write_text('{"step": 5}\n[1]\n{"step": "6"}\n{"step": 10, "split": "validation"}\n{"step": 15}\n{"step": 2')
  progress = progress_lib.Progress(config(tmp_path), start=10)
  progress.close()
  assert [row["step"] for row in rows(tmp_path)] == [5, 10]
  assert progress.validated


@contextlib.contextmanager
def full_disk(size):
  """The nearest to one that needs no privileges: no file may grow beyond so many bytes."""
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize(("step", "written", "said"), [
    (5, '{"step": 1}\n' * 200, "metrics.jsonl' cannot be written: File too large"),
    (10, "", "TensorBoard's file cannot be written: .*events.*; File too large")])
def test_a_disk_that_is_full_is_one_line(tmp_path, step, written, said):
  (tmp_path / "metrics.jsonl").write_text(written)
  progress = progress_lib.Progress(config(tmp_path), start=3)
  images = np.random.default_rng(0).random((4, 28, 28, 1), np.float32)
  with contextlib.closing(progress), full_disk(2400), pytest.raises(UserError, match=said) as error:
    progress.report(step, VALUES, images)
  assert "\n" not in str(error.value)


def test_a_log_that_is_no_file_is_one_line(tmp_path):
  (tmp_path / "metrics.jsonl").mkdir()
  with pytest.raises(UserError, match=r"metrics.jsonl' cannot be written: Is a directory"):
    progress_lib.Progress(config(tmp_path))


def test_what_a_resumed_run_will_take_is_that_of_what_is_left(tmp_path, capsys):
  with contextlib.closing(progress_lib.Progress(config(tmp_path), start=20)) as progress:
    for _ in range(21):
      progress.timed(0.5)
  assert "30 steps from here will take about 15 s" in capsys.readouterr().out


def read_all(descriptor):
  """Everything that was written to a terminal whose other end is closed."""
  text = b""
  with open(descriptor, "rb", buffering=0) as file, contextlib.suppress(OSError):
    while part := file.read(1000):
      text += part
  return text.decode()


def test_a_bar_in_a_terminal(tmp_path, monkeypatch, capsys):
  ours, terminal = pty.openpty()
  fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
  with open(terminal, "w", encoding="utf-8") as stream:
    monkeypatch.setattr(sys, "stderr", stream)
    progress = progress_lib.Progress(config(tmp_path))
    for step in range(1, 6):
      progress.timed(0.01)
      progress.report(step, VALUES, np.zeros((4, 28, 28, 1), np.float32))
    progress.close()
  shown = read_all(ours)
  assert "5/50" in shown and "adv=50.0%" in shown
  assert "steps/s" not in capsys.readouterr().out  # no lines beside the bar
