"""A whole asynchronous run: the processes get their devices before any of them has TensorFlow."""

import contextlib
import dataclasses
import functools
import sys
from collections.abc import Iterator

from tf_madry.asynchronous.local.placement import placements
from tf_madry.config import Config
from tf_madry.errors import require

# Of learning rate × mean staleness. A network of `--recipe quick` lost 6 of 95 points of adversarial
# accuracy at 0.05, and half a point at 0.007 (README);
# a bound of 8 steps, 0.004 on average, does no better than that of 32: 94.3 and 94.4 %.
COSTLY = 0.02


def notices(config: Config) -> Iterator[str]:
  """Says so where staleness will cost robustness, and what helps."""
  settings, rate = config.asynchronous, config.training.learning_rate
  mean = (settings.reload_every - 1) / 2
  if settings.workers and settings.max_staleness is None and rate * mean > COSTLY:
    yield (f"weights that are {mean:g} steps old on average cost robustness at a learning rate of "
           f"{rate:g}: at 0.001 and 49.5, six of 95 points; --max_staleness 32 avoids most of it")


def run(config: Config, *, resume: bool = True) -> int:
  """Trains as `config` says; returns the exit code.

  Args:
    config: the run; with no workers it is one of train.py.
    resume: False: refuse a directory that already holds a run.

  Raises:
    UserError: as `loop.train`; a recipe that has no use for workers; devices that there are not.
  """
  training, workers = config.training, config.asynchronous.workers
  strategy = config.distribution.strategy
  require(strategy == "none", "strategy", strategy,
          "none in async_train.py, whose trainer is one device; train.py splits batches")
  require(not training.staleness, "staleness", training.staleness,
          "0 in async_train.py, which measures it; train.py simulates it")
  require(not training.staleness_reload, "staleness_reload", training.staleness_reload,
          "0 in async_train.py, whose workers reload; train.py simulates it")
  require(not (training.replay and workers), "workers", workers,
          "0 in a recipe that replays its batches: they are trained on while they are crafted")
  require(not (training.bounds and workers), "workers", workers,
          "0 in a recipe that trains on interval bounds: nothing is crafted")
  on_cluster = bool(workers and config.asynchronous.cluster)
  here = dataclasses.replace(config.asynchronous, workers=0) if on_cluster else config.asynchronous
  (trainer_placement, *worker_placements), crowded = placements(here)
  for notice in (*crowded, *notices(config)):
    print(f"note: {notice}", file=sys.stderr)
  with _cluster(config.asynchronous) if on_cluster else contextlib.nullcontext():
    trainer_placement.apply()
    from tf_madry.asynchronous.trainer import Asynchronous
    from tf_madry.training import loop
    from tf_madry.training.synchronous import Synchronous
    pool = _ray_pool(config) if on_cluster else _local_pool(worker_placements)
    make_stepper = functools.partial(Asynchronous, make_pool=pool) if workers else Synchronous
    try:
      loop.train(config, resume=resume, make_stepper=make_stepper)
    except loop.Stopped as stopped:
      return stopped.exit_code
  return 0


def _local_pool(places):
  from tf_madry.asynchronous.local.pool import LocalPool
  return functools.partial(LocalPool, placements=places)


def _cluster(settings):
  from tf_madry.asynchronous.ray import cluster
  cluster.parse_resources(settings.worker_resources)
  return cluster.joined(settings.cluster)


def _ray_pool(config):
  from tf_madry import datasets
  from tf_madry.asynchronous.ray.pool import RayPool
  return functools.partial(RayPool, data=datasets.load(config.training.dataset).digest)
