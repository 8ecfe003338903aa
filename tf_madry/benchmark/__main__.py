"""Runs the benchmarks named on the command line, without any all that are possible here."""

import importlib
import importlib.util

from absl import flags

from tf_madry import cli
from tf_madry.errors import require

# The module of each.
BENCHMARKS = {"core": "core", "loop": "runs", "queue": "transport", "weights": "transport",
              "cluster": "cluster", "asynchronous": "runs", "pools": "pools", "devices": "devices"}
NEED_RAY = ("cluster", "pools")

flags.DEFINE_list("batch_sizes", ["128"], "of core: images a step")
flags.DEFINE_integer("instances", 5, "of core: how often each step is built and compiled")


def main(names: list[str]) -> int:
  """Runs the benchmarks of these names; returns the exit code."""
  sizes, instances = flags.FLAGS.batch_sizes, flags.FLAGS.instances
  require(sizes and all(size.isdecimal() and int(size) for size in sizes), "batch_sizes",
          ",".join(sizes), "whole numbers of images, at least 1, as 50,128")
  require(instances >= 1, "instances", instances, "a whole number, at least 1")
  for name in names:
    require(name in BENCHMARKS, "benchmark", name, ", ".join(BENCHMARKS))
  cli.load_tensorflow()
  every = [name for name in BENCHMARKS if name not in NEED_RAY or importlib.util.find_spec("ray")]
  for name in names or every:
    benchmark = getattr(importlib.import_module(f"tf_madry.benchmark.{BENCHMARKS[name]}"), name)
    if name == "core":
      benchmark(list(map(int, sizes)), instances)
    else:
      benchmark()
  return 0


if __name__ == "__main__":
  cli.run(main, takes_names=True)
