"""Runs over several devices: what is refused, and processes that train together."""

import json
import os
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.errors import error_of
from tests.helpers.processes import ROOT, run, start, until
from tests.helpers.training import arrays, rows
from tf_madry import checkpoints, datasets
from tf_madry import config as configs
from tf_madry.runtime.cluster import Cluster
from tf_madry.training import distributed, loop, multiworker, saving
from tf_madry.training.learner import Learner
from tf_madry.training.stepper import StepperError

SETTINGS = {"k": 1, "batch_size": 7, "eval_every": 0, "log_every": 2, "learning_rate": 3e-4}


@pytest.mark.parametrize(("script", "given", "said"), [
    ("train.py", "--strategy=multiworker", "TF_CONFIG is None, accepted: the processes that train together"),
    ("train.py", "--strategy=both", "none|mirrored|multiworker"),
    ("train.py", "--strategy=mirrored --minutes=1", "minutes is 1.0, accepted: nothing when there is a strategy"),
    ("train.py", "--strategy=mirrored", "strategy is 'mirrored', accepted: none where there is no GPU"),
    ("train.py", "--strategy=mirrored --cpu_devices=3 --batch_size=2", "batch_size is 2, accepted: at least 3, an example for each device"),
    ("async_train.py", "--strategy=mirrored", "strategy is 'mirrored', accepted: none in async_train.py")])
def test_bad_input_is_one_line_and_makes_nothing(tmp_path, monkeypatch, script, given, said):
  monkeypatch.delenv("TF_CONFIG", raising=False)
  monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
  code, output = run(script, *given.split(), cwd=tmp_path)
  assert (code, len(output.splitlines())) == (2, 1), output
  assert said in output
  assert os.listdir(tmp_path) == []


IMPATIENT = """
from tf_madry import cli
from tf_madry.runtime import cluster
import train
cluster.PAUSE, cluster.PATIENCE = 0.2, 1.0
cli.run(train.main)
"""


def test_processes_train_as_one_and_one_that_dies_or_freezes_ends_the_others(tmp_path, monkeypatch):
  monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")  # as users have it
  servers = [socket.create_server(("localhost", 0)) for _ in range(2)]
  addresses = [f"localhost:{server.getsockname()[1]}" for server in servers]
  for server in servers:
    server.close()
  (tmp_path / "settings.json").write_text(json.dumps(SETTINGS))

  impatient = tmp_path / "impatient.py"
  impatient.write_text(IMPATIENT)

  def begin(steps, script="train.py"):
    for number in range(2):
      task = {"type": "worker", "index": number}
      monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": {"worker": addresses}, "task": task}))
      # What is not the chief needs no directory.
      folder = tmp_path / ("run" if number == 0 else "nowhere")
      yield start(script, "--strategy=multiworker", f"--config={tmp_path / 'settings.json'}",
                  f"--model_dir={folder}", f"--steps={steps}", cwd=tmp_path)

  metrics, stopped, seen = tmp_path / "run" / "metrics.jsonl", 0, 0
  for signum, script in ((signal.SIGKILL, "train.py"), (signal.SIGSTOP, impatient)):
    chief, other = begin(100_000, script)
    try:
      until(lambda wanted=seen + 1: metrics.exists() and len(rows(tmp_path / "run")) >= wanted)
      other.send_signal(signum)
      output, _ = chief.communicate(timeout=60)
    finally:
      for process in (chief, other):
        process.kill()
    assert chief.returncode == 2
    before, stopped = stopped, checkpoints.read_newest(str(tmp_path / "run")).step
    assert stopped > before
    assert output.splitlines()[-1] == (f"error: worker 1 ({addresses[1]}) has gone: start all of them again, and the run "
                                       f"goes on; saved after step {stopped:,}")
    assert output.count("error") == 1 and "Traceback" not in output
    seen = len(rows(tmp_path / "run"))

  together = list(begin(stopped + 3))
  try:
    outputs = [process.communicate(timeout=300)[0] for process in together]
  finally:
    for process in together:
      process.kill()
  assert [process.returncode for process in together] == [0, 0], outputs
  assert f"resuming from step {stopped:,}" in outputs[0] and len(outputs[1].splitlines()) == 2
  assert not (tmp_path / "nowhere").exists()
  loop.train(configs.resolve({**SETTINGS, "steps": stopped + 3, "model_dir": str(tmp_path / "alone")})[0])
  ours, theirs = arrays(tmp_path / "run"), arrays(tmp_path / "alone")
  assert ours.keys() == theirs.keys()
  for name, array in theirs.items():
    np.testing.assert_allclose(ours[name], array, atol=1e-4, err_msg=name)
  assert [row["step"] for row in rows(tmp_path / "run")] == [row["step"] for row in rows(tmp_path / "alone")]


@pytest.mark.parametrize(("given", "versions", "said"), [
    ({"k": 2}, {}, "k is 2, accepted: 1, as the chief has it"), ({"seed": 3}, {}, "seed is 3, accepted: 0"),
    ({}, {"keras": "1.0"}, "accepted: '1.0', as the chief has it")])
def test_another_experiment_than_the_chief_s_is_refused_by_name(monkeypatch, given, versions, said):
  config = configs.resolve(SETTINGS)[0]
  learner = Learner(config, datasets.load())
  real = saving.versions()
  with monkeypatch.context() as chief:
    chief.setattr(saving, "versions", lambda: real | versions)
    packed = multiworker.pack(saving.snapshot(learner, Stateless(), 4), learner.dataset.digest)
  checkpoint, _ = multiworker.unpack(packed)
  assert checkpoint.step == 4 and checkpoint.arrays.keys() == learner.variables().keys()
  monkeypatch.setattr(multiworker, "broadcast", lambda strategy: packed)
  theirs = configs.resolve({**SETTINGS, **given})[0]
  assert said in error_of(multiworker.follow, theirs, None, None, None)


class Stateless:
  """A stepper that keeps nothing."""

  def arrays(self):
    return {}


def test_a_partner_who_has_gone_is_named_and_other_errors_are_not_hidden():
  with socket.create_server(("localhost", 0)) as server:
    here = f"localhost:{server.getsockname()[1]}"
  cluster = Cluster((here, "localhost:1"), 0)
  with pytest.raises(StepperError, match=r"^worker 1 \(localhost:1\) has gone"), multiworker.noticing(cluster):
    raise tf.errors.UnavailableError(None, None, "Connection reset by peer")
  with pytest.raises(tf.errors.ResourceExhaustedError), multiworker.noticing(cluster):
    raise tf.errors.ResourceExhaustedError(None, None, "no memory")


def test_a_machine_that_goes_without_a_word_ends_the_process():
  script = ("import time\nfrom tf_madry.runtime import cluster\ncluster.PAUSE = 0.01\nfrom tf_madry.training import distributed\n"
            "partners = cluster.Cluster(('localhost:1', 'localhost:2'), 0)\n"
            "with distributed.watching(partners, abort=str, grace=0.01):\n  time.sleep(60)")
  process = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
  assert process.returncode == 2
  assert process.stderr == ("error: worker 1 (localhost:2) does not answer any more: start all of them again, and the run "
                            "goes on from its newest checkpoint\n")


def test_it_is_said_who_is_waited_for(capfd):
  with distributed.reminding(Cluster(("localhost:1", "localhost:2"), 0), every=0.01):
    assert until(lambda: capfd.readouterr().out).startswith("the chief (localhost:1) still waits for worker 1 (localhost:2)\n")
