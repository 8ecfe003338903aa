"""Runs the benchmarks named on the command line, all of them without any."""

from tf_madry import cli
from tf_madry.benchmark.core import core
from tf_madry.benchmark.runs import asynchronous, loop
from tf_madry.benchmark.transport import queue, weights
from tf_madry.errors import require

BENCHMARKS = {benchmark.__name__: benchmark for benchmark in (core, loop, queue, weights, asynchronous)}


def main(names):
  """Runs the benchmarks of these names; returns the exit code."""
  for name in names:
    require(name in BENCHMARKS, "benchmark", name, ", ".join(BENCHMARKS))
  for name in names or BENCHMARKS:
    BENCHMARKS[name]()
  return 0


if __name__ == "__main__":
  cli.run(main, takes_names=True)
