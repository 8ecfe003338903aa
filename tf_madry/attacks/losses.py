"""What an attack increases: functions of logits [batch, classes] and labels [batch], one number an example.

All are computed in float32 whatever the model computes in.
"""

import tensorflow as tf


def xent(logits, labels):
  """Cross-entropy, the loss of training (Eq. 1) and of the paper's attacks."""
  return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


def margin(logits, labels):
  """Logit of the label minus the largest other logit: negative where the model is wrong."""
  label = tf.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
  # Logits are far above -1e4; the constant takes the label out of the maximum (the challenge does the same).
  return tf.reduce_sum(label * logits, -1) - tf.reduce_max(logits - 1e4 * label, -1)


def cw(logits, labels):
  """The loss of Carlini and Wagner (2017) as the challenge defines it, with its confidence of 50.

  It is flat, without a gradient, where the model is wrong by more than 50.
  """
  return -tf.nn.relu(margin(logits, labels) + 50.0)


LOSSES = {"xent": xent, "cw": cw}
