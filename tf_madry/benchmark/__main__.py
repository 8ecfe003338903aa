"""Runs the benchmarks named on the command line, all of them without any."""

from absl import flags

from tf_madry import cli
from tf_madry.benchmark.core import core
from tf_madry.benchmark.runs import asynchronous, loop
from tf_madry.benchmark.transport import queue, weights
from tf_madry.errors import require

BENCHMARKS = {benchmark.__name__: benchmark for benchmark in (core, loop, queue, weights, asynchronous)}

flags.DEFINE_list("batch_sizes", ["128"], "of core: images a step")
flags.DEFINE_integer("instances", 5, "of core: how often each step is built and compiled")


def main(names: list[str]) -> int:
  """Runs the benchmarks of these names; returns the exit code."""
  sizes, instances = flags.FLAGS.batch_sizes, flags.FLAGS.instances
  require(sizes and all(size.isdecimal() and int(size) for size in sizes), "batch_sizes", ",".join(sizes),
          "whole numbers of images, at least 1, as 50,128")
  require(instances >= 1, "instances", instances, "a whole number, at least 1")
  for name in names:
    require(name in BENCHMARKS, "benchmark", name, ", ".join(BENCHMARKS))
  for name in names or BENCHMARKS:
    if name == "core":
      core(list(map(int, sizes)), instances)
    else:
      BENCHMARKS[name]()
  return 0


if __name__ == "__main__":
  cli.run(main, takes_names=True)
