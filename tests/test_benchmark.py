"""The benchmarks run; what they measure is for people to judge."""

import re
import subprocess
import sys

from tf_madry import benchmark


def test_both_queues_are_measured_in_every_round():
  result = benchmark.queue_throughput(rounds=2, batches=20, slots=2)
  assert [len(rates) for rates in result] == [2, 2]
  assert min(result.ring + result.queue) > 0


def test_publishing_and_reloading_are_measured(capsys):
  benchmark.weights(rounds=2)
  assert re.search(r"publishing +[\d.]+ ms: [\d.]+% .* every 100 steps, [\d.]+% .* every step", capsys.readouterr().out)


def test_an_unknown_benchmark_is_one_line():
  run = subprocess.run([sys.executable, "-m", "tf_madry.benchmark", "speed"], capture_output=True, text=True)
  assert (run.returncode, run.stderr) == (2, f"error: benchmark is 'speed', accepted: {', '.join(benchmark.BENCHMARKS)}\n")
