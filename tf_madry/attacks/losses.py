"""What an attack increases: functions of logits [batch, classes] and labels [batch], one number an example.

Targeted ones take the class to reach, int32 [batch], as a third argument.
"""

import tensorflow as tf

from tf_madry.errors import require

# Keeps a ratio of logits finite where they are all equal, without a weight anywhere else.
TINY = 1e-12


def xent(logits, labels):
  """Cross-entropy, the loss of training (Eq. 1) and of the paper's attacks."""
  return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


def margin(logits, labels):
  """Logit of the label minus the largest other logit: negative where the model is wrong."""
  return _of(labels, logits) - tf.reduce_max(without(labels, logits), -1)


def cw(logits, labels):
  """The loss of Carlini and Wagner (2017) as the challenge defines it, with its confidence of 50.

  It is flat, without a gradient, where the model is wrong by more than 50.
  """
  return -tf.nn.relu(margin(logits, labels) + 50.0)


def dlr(logits, labels):
  """Difference of logits ratio (Croce and Hein 2020): the margin in units of the first logit's lead on the third.

  Neither a constant added to all logits nor a factor changes it, so that large logits do not hide its gradient as they
  do that of cross-entropy.

  Raises:
    UserError: fewer than 3 classes.
  """
  require_classes("dlr", logits.shape[-1])
  top = tf.math.top_k(logits, 3).values
  return -margin(logits, labels) / (top[:, 0] - top[:, 2] + TINY)


def difference(logits, labels, targets):
  """Logit of the target minus that of the label (Gowal et al. 2019): positive only where the model is wrong."""
  return _of(targets, logits) - _of(labels, logits)


def targeted_dlr(logits, labels, targets):
  """The targeted form of `dlr`, from the same paper: `difference` in units that no constant and no factor changes.

  Raises:
    UserError: fewer than 4 classes.
  """
  require_classes("targeted_dlr", logits.shape[-1])
  top = tf.math.top_k(logits, 4).values
  return difference(logits, labels, targets) / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + TINY)


LOSSES = {"xent": xent, "cw": cw, "dlr": dlr}
FEWEST_CLASSES = {"dlr": 3, "targeted_dlr": 4}  # for the other losses any number will do


def require_classes(loss, num_classes):
  """Raises `UserError` if the loss of that name is not defined for so few classes."""
  fewest = FEWEST_CLASSES[loss]
  require(num_classes >= fewest, f"number of classes under loss {loss}", num_classes, f"at least {fewest}")


def without(labels, logits):
  """The logits with that of the label at -inf, so that the largest one is another class's."""
  return tf.where(tf.one_hot(labels, logits.shape[-1], True, False), -float("inf"), logits)


def _of(labels, logits):
  return tf.gather(logits, labels, batch_dims=1)
