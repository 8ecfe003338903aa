"""Stateless randomness: every random number is a function of (seed, step, purpose)."""

import tensorflow as tf

# The numbers are part of a run's identity: they stay, and new purposes get new ones.
PURPOSES = {"random start": 1, "restart": 2, "evaluation": 3, "shift": 4}


def key(seed: int | tf.Tensor, step: int | tf.Tensor, purpose: str) -> tf.Tensor:
  """The key of TensorFlow's stateless random functions for one purpose at one step.

  Args:
    seed: an integer, or a key that this function returned (keys nest: a restart of an evaluation of
      a run).
    step: an integer or integer tensor.
    purpose: one of `PURPOSES`.

  Returns:
    int32 tensor of shape [2].
  """
  return tf.random.fold_in(tf.random.fold_in(as_key(seed), PURPOSES[purpose]), step)


def as_key(seed: int | tf.Tensor) -> tf.Tensor:
  """Turns an integer seed into a key (int32, shape [2]); leaves a key as it is."""
  seed = tf.cast(seed, tf.int32)
  return seed if seed.shape.rank == 1 else tf.stack([seed, 0])
