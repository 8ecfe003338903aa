"""The benchmarks run; what they measure is for people to judge."""

import math
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.processes import ROOT
from tf_madry.benchmark import core as core_lib
from tf_madry.benchmark import devices as devices_lib
from tf_madry.benchmark import runs, textbook, transport
from tf_madry.benchmark.__main__ import BENCHMARKS
from tf_madry.benchmark.core import LAYERS, core
from tf_madry.errors import UserError
from tf_madry.models import network
from tf_madry.runtime import devices


def test_both_queues_are_measured_in_every_round():
  result = transport.queue_throughput(rounds=2, batches=20, slots=2)
  assert [len(rates) for rates in result] == [2, 2]
  assert min(result.slots + result.queue) > 0


def test_publishing_and_reloading_are_measured(capsys):
  transport.weights(rounds=3)
  output = capsys.readouterr().out
  assert re.search(
    r"publishing in memory +[\d.]+ ms: [\d.]+% .* every 100 steps, [\d.]+% .* every step", output
  )
  assert re.search(
    r"in files +[\d.]+ ms, and [\d.]+ ms in a thread: .* [\d.]+% .* at 2 steps/s, [\d.]+% at 500",
    output,
  )


def test_an_unknown_benchmark_is_one_line():
  run = subprocess.run(
    [sys.executable, "-m", "tf_madry.benchmark", "speed"], capture_output=True, text=True
  )
  assert (run.returncode, run.stderr) == (
    2,
    f"error: benchmark is 'speed', accepted: {', '.join(BENCHMARKS)}\n",
  )


def test_the_core_is_held_against_the_textbook(capsys):
  core(batch_sizes=(4,), instances=2, rounds=1, k=2)
  first, *lines = capsys.readouterr().out.splitlines()
  assert first.startswith(f"core: {devices.description()}, ")
  rows = [line.split(" | ") for line in lines if line.startswith("| 4 |")]
  rows = [row for row in rows if not row[2].startswith("PyTorch")]  # where it is installed
  assert [row[2] for row in rows] == 2 * [
    "textbook float32",
    "tf_madry float32",
    "tf_madry bfloat16",
  ]
  assert all(float(row[4]) >= 1 and float(row[5]) > 0 for row in rows)
  assert [row[5] for row in rows if row[2].startswith("textbook")] == 2 * ["1.00"]


def test_every_instance_is_built_anew():
  built = []

  def build():
    built.append(object())
    return {"ours": lambda: None}

  times = core_lib.instances_of(build, instances=3, rounds=1)
  assert len(times["ours"]) == len(built) == 3


def test_pytorch_takes_the_same_step():
  pytest.importorskip("torch")
  from tf_madry.benchmark import torch_textbook

  assert (
    sum(weight.numel() for weight in torch_textbook.build().parameters())
    == network.build().count_params()
  )
  images = np.random.default_rng(0).random((4, 28, 28, 1), np.float32)
  for precision in core_lib.PRECISIONS:
    model = torch_textbook.build(precision)
    moved = torch_textbook.attack_of(model, images, np.arange(4), threads=1)() - images
    assert 0.29 < np.abs(moved).max() <= 0.3 + 1e-6


@pytest.mark.parametrize("given", ["--batch_sizes=0", "--batch_sizes=a", "--instances=0"])
def test_bad_sizes_are_one_line(given):
  command = [sys.executable, "-m", "tf_madry.benchmark", "core", given]
  run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
  assert run.returncode == 2
  assert (
    run.stderr.startswith(f"error: {given[2:].partition('=')[0]} is ")
    and run.stderr.count("\n") == 1
  )


def test_the_work_of_a_layer_is_that_of_its_kernel_at_every_output():
  kernels = [weight for weight in network.build().weights if weight.path.endswith("kernel")]
  outputs = (28 * 28, 14 * 14, 1, 1)
  assert (
    tuple(math.prod(kernel.shape) * count for kernel, count in zip(kernels, outputs, strict=True))
    == LAYERS
  )


def test_the_textbook_trains_the_same_network():
  images, labels = tf.random.stateless_uniform((8, 28, 28, 1), (0, 0)), tf.range(8)
  textbook_model = textbook.build()
  assert textbook_model.count_params() == network.build().count_params()
  attack = textbook.attack_of(textbook_model)
  assert float(tf.reduce_max(tf.abs(attack(images, labels, tf.constant(3)) - images))) <= 0.3 + 1e-6
  step = textbook.step_of(textbook_model, attack, learning_rate=1e-3)
  losses = [float(step(images, labels, tf.constant(1))) for _ in range(20)]
  assert losses[-1] < losses[0]


def test_batches_over_devices_are_measured(tmp_path, capsys):
  program = tmp_path / "train.py"
  program.write_text("""
import json, os, pathlib, sys, time
values = json.loads(pathlib.Path(sys.argv[2]).read_text())
if values.get("strategy") == "multiworker":
  cluster = json.loads(os.environ["TF_CONFIG"])
  if cluster["task"]["index"]:
    time.sleep(600)
folder = pathlib.Path(values["model_dir"])
folder.mkdir()
pace = 2.0 if values.get("strategy") else 1.0
rows = [{"step": step, "time": pace * step} for step in (10, 20)]
folder.joinpath("metrics.jsonl").write_text("".join(json.dumps(row) + "\\n" for row in rows))
time.sleep(600)
""")
  devices_lib.devices(rounds=1, steps=10, batch_size=64, program=[program])
  rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][1:]
  assert [row[1:] for row in rows] == [["64 (64–64)", "100% |"]] + 2 * [["32 (32–32)", "50% |"]]


def test_what_the_loop_costs_is_measured(capsys):
  runs.loop(steps=2, every=1)
  assert re.search(
    r"first step +[\d.]+ s.*\n.*steps +[\d.]+%.*\n.*memory +[\d,]+ MiB", capsys.readouterr().out
  )


@pytest.mark.parametrize(
  ("script", "said"),
  [
    ("raise SystemExit(3)", "ended with exit code 3"),
    ("raise OSError('no disk')", "ended with exit code 1"),
    (
      """
import json, pathlib, sys
folder = pathlib.Path(json.loads(pathlib.Path(sys.argv[2]).read_text())["model_dir"])
folder.mkdir()
folder.joinpath("metrics.jsonl").write_text('{"step": 1, "time": 1.0, "examples_per_second": null}\\n')
raise SystemExit(3)
""",
      "ended with exit code 3",
    ),
  ],
)
def test_a_run_that_fails_is_one_line(tmp_path, script, said):
  program = tmp_path / "train.py"
  program.write_text(script)
  with pytest.raises(UserError, match=f"^train.py {said}$"):
    runs.loop(program=[program])
  with pytest.raises(UserError, match=f"^train.py {said}: (OSError: no disk)?$"):
    runs.training_run("train.py", steps=1000, program=[program])
