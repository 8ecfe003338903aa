"""What runs on the cluster: an actor that crafts what it is asked for, with the newest weights."""

import importlib.metadata
import os
import threading
import time
from collections.abc import Sequence

import numpy as np

import tf_madry
from tf_madry import cli, datasets
from tf_madry.config import Config

_FOLLOW = 60.0  # seconds that weights which were published may take to arrive


def versions() -> dict[str, str]:
  """What trainer and workers need to share, for a batch to depend on ticket and weights alone."""
  return {"tf_madry": tf_madry.__version__, "TensorFlow": importlib.metadata.version("tensorflow")}


class Worker:
  """An actor. One call waits for the other, but `receive` and `pulse` do not wait for a batch.

  Args:
    values: of the run's config, flat.
    threads: of the CPU that TensorFlow may use; None: as many as it likes.
    gpu: whether it has a GPU.
  """

  def __init__(self, values: dict, threads: int | None, gpu: bool):
    self._config, self._threads, self._gpu = Config.from_values(values), threads, gpu
    self._newest = None  # (step, weights)
    self._arrival = threading.Condition()
    self._blocked, self._ended = 0.0, None

  def hello(self) -> tuple[str, int, str, dict[str, str]]:
    """Answers as soon as it has a place: (host, process, node, versions)."""
    import ray
    context = ray.get_runtime_context()
    return ray.util.get_node_ip_address(), os.getpid(), context.get_node_id(), versions()

  def begin(self) -> str:
    """Gets ready to craft, which takes a while; returns the digest of its data."""
    if not self._gpu:
      os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    cli.load_tensorflow(self._threads)
    import tensorflow as tf

    from tf_madry.training.learner import Learner
    from tf_madry.training.step import AdversarialStep
    training = self._config.training
    dataset = datasets.load(training.dataset)
    self._batches = datasets.Batches(len(dataset.train), training.batch_size, training.seed)
    self._learner = Learner(self._config, dataset)
    step = AdversarialStep(self._learner)

    def craft(ticket):
      return step.craft(tf.constant(self._batches.indices(ticket)), tf.constant(ticket))

    self._craft = craft
    self._craft(0)  # compiles: nobody should have to wait for it once there is a batch to be made
    self._step = None  # of the weights that it has
    return dataset.digest

  def receive(self, step: int, weights: Sequence[np.ndarray]) -> None:
    """Is shown the trainer's weights after so many steps."""
    with self._arrival:
      if self._newest is None or step > self._newest[0]:
        self._newest = step, weights
        self._arrival.notify_all()

  def pulse(self) -> None:
    """Answers."""

  def craft(self, ticket: int, at_least: int) -> tuple[np.ndarray, np.ndarray, int, float]:
    """Crafts a batch with the newest weights.

    Args:
      ticket: of the batch.
      at_least: the step of weights that are on their way, if they have not come yet.

    Returns:
      Images, labels, step of the weights, seconds that it has waited between batches, in all.
    """
    with self._arrival:
      arrived = self._arrival.wait_for(
          lambda: self._newest and self._newest[0] >= at_least, _FOLLOW)
      if not arrived:
        raise RuntimeError(f"the weights of step {at_least} have not come within {_FOLLOW:g} s")
      step, weights = self._newest
    if step != self._step:
      for variable, array in zip(self._learner.trained.weights, weights, strict=True):
        variable.assign(array)
      self._step = step
    if self._ended is not None:
      self._blocked += time.monotonic() - self._ended
    images, labels = self._craft(ticket)
    result = images.numpy(), labels.numpy(), step, self._blocked
    self._ended = time.monotonic()
    return result
