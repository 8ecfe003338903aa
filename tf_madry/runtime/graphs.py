"""How TensorFlow is asked to run what training and attacks compute."""

from collections.abc import Callable

import tensorflow as tf

from tf_madry.runtime import devices


def float32_logits(model: Callable[[tf.Tensor], tf.Tensor], images: tf.Tensor) -> tf.Tensor:
  """What a model answers, as float32, whatever type it computes in."""
  return tf.cast(model(images), tf.float32)


def acyclic(function: Callable) -> Callable:
  """Compiles a function that takes a gradient, as a graph of its own wherever it is called from.

  On a CPU, TensorFlow hands the gradient of max-pooling to oneDNN only where it has met the pooling
  itself before. The body of a loop is inlined into a graph with a cycle, in which that order is
  left to chance: of compiled steps with equal code some took 1.4 to 2.3 times as long as others. A
  function that is not inlined has no cycle.
  """
  return tf.function(function, reduce_retracing=True, experimental_attributes={"_noinline": True})


def compiled(function: Callable) -> Callable:
  """Compiles a step of training: by XLA where there is a GPU; a CPU is four times slower so."""
  return tf.function(function, jit_compile=devices.has_gpu())
