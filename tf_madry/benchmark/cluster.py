"""What it costs to hand over batches and weights on a Ray cluster, with two nodes of one machine."""

import contextlib
import importlib.util
import os
import statistics
import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tf_madry.asynchronous.ray.cluster import OWN_SHARE, joined
from tf_madry.benchmark.rounds import BATCH_SIZE, IMAGE_SHAPE, PATIENCE
from tf_madry.errors import require
from tf_madry.models import network

MANY = 512  # workers whose pending batches the trainer looks through
LEAST = 1e-6  # seconds that something is said to take
LOOKS = 3  # times that it does so in a step that finds one: `ready` twice, `take` once


def is_possible() -> bool:
  """Whether Ray is installed."""
  return importlib.util.find_spec("ray") is not None


@contextlib.contextmanager
def two_nodes(cores: int) -> Iterator[str]:
  """The address of a cluster on this machine while the block lasts.

  One node is the trainer's and has no place for workers, the other has one for each core. All that
  they hand over goes from node to node.

  Raises:
    UserError: Ray is not installed.
  """
  os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
  os.environ.setdefault(*OWN_SHARE)
  require(is_possible(), "cluster", "of two nodes", "nothing without Ray: pip install ray")
  from ray.cluster_utils import Cluster
  made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
  try:
    made.add_node(num_cpus=cores)
    yield made.address
  finally:
    made.shutdown()


class Handover(NamedTuple):
  """Medians, in seconds.

  Attributes:
    message: a call's way to a worker, or its answer's way back.
    batch: what a batch of 128 images takes longer than a message.
    weights: what the paper's network takes longer than a message, to the other node.
    ingest: of the trainer's thread, to take a batch in and to ask for another.
    watch: of the trainer's thread, for each worker that has two batches in hand, in every step.
    publish: of the trainer's thread, to put weights into the object store.
  """

  message: float
  batch: float
  weights: float
  ingest: float
  watch: float
  publish: float


class Echo:
  """An actor that has its batch at once."""

  def __init__(self) -> None:
    random = np.random.default_rng(0)
    self._images = random.random((BATCH_SIZE, *IMAGE_SHAPE), np.float32)

  def node(self) -> str:
    """Where it is."""
    import ray
    return ray.get_runtime_context().get_node_id()

  def nothing(self) -> None:
    """Answers."""

  def receive(self, weights: list[np.ndarray]) -> None:
    """Answers when the weights are there."""

  def craft(self) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels."""
    return self._images.copy(), np.zeros(BATCH_SIZE, np.int32)

  def sleep(self, seconds: float) -> None:
    """Has what comes after it wait."""
    time.sleep(seconds)


def measure(address: str, rounds: int = 30) -> Handover:
  """Measures on a cluster such as that of `two_nodes`, which this process joins meanwhile.

  Args:
    address: of the cluster.
    rounds: how often each is timed, after one time that does not count.

  Raises:
    UserError: workers are on this process's own node.
  """
  with joined(address):
    import ray
    actor = ray.remote(num_cpus=1)(Echo).remote()
    apart = ray.get(actor.node.remote()) != ray.get_runtime_context().get_node_id()
    require(apart, "cluster", address, "one whose workers are on another node than this process")
    weights = [np.zeros(weight.shape, np.float32) for weight in network.build().weights]
    times = [_round(ray, actor, weights) for _ in range(1 + rounds)][1:]
    message, batch, weights, ingest, publish = map(statistics.median, zip(*times, strict=True))
    watch = _watch(ray, actor, rounds)
    return Handover(message / 2, *(max(LEAST, seconds - message) for seconds in (batch, weights)),
                    ingest, watch, publish)


def _round(ray, actor, weights):
  began = time.perf_counter()
  ray.get(actor.nothing.remote(), timeout=PATIENCE)
  message = time.perf_counter() - began

  began, busy = time.perf_counter(), time.thread_time()
  pending = actor.craft.remote()
  done, _ = ray.wait([pending], timeout=PATIENCE)
  require(done, "cluster", "this one", f"one that hands over a batch within {PATIENCE:g} s")
  images, labels = ray.get(pending)
  batch = time.perf_counter() - began
  # As the trainer does, whose step may go on reading what it was given.
  tf.constant(images.copy())
  tf.constant(labels.copy())
  ingest = time.thread_time() - busy

  began = time.perf_counter()
  put = ray.put(weights)
  publish = time.perf_counter() - began
  began = time.perf_counter()
  ray.get(actor.receive.remote(put), timeout=PATIENCE)
  return message, batch, time.perf_counter() - began, ingest, publish


def _watch(ray, actor, rounds):
  """Seconds for each of many workers, that a step's looks at what they have in hand take."""
  actor.sleep.remote(PATIENCE)
  pending = [actor.nothing.remote() for _ in range(2 * MANY)]
  times = []
  for _ in range(rounds):
    began = time.perf_counter()
    for _ in range(LOOKS):
      ray.wait(pending, num_returns=1, timeout=0)
    times.append(time.perf_counter() - began)
  ray.kill(actor)
  return statistics.median(times) / MANY


def cluster(rounds: int = 30) -> None:
  """Batches, weights and messages from node to node of a Ray cluster on this machine."""
  with two_nodes(1) as address:
    found = measure(address, rounds)
  print(f"cluster: Ray, two nodes of this machine, medians of {rounds} rounds, batches of "
        f"{BATCH_SIZE}, weights of the paper's network")
  for name, what in (("message", "a call's way, or its answer's"),
                     ("batch", "a batch, longer than that"),
                     ("weights", "weights to a node, longer than that"),
                     ("publish", "the trainer's time to publish weights"),
                     ("ingest", "the trainer's time to take in a batch")):
    print(f"  {what:<39}{1e3 * getattr(found, name):.2f} ms")
  print(f"  the trainer's time to look after {MANY} workers, in every step  "
        f"{1e3 * MANY * found.watch:.2f} ms")
