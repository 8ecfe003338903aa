"""What an attack increases: functions of logits [batch, classes] and labels [batch], one number an
example.

Targeted ones take the class to reach, int32 [batch], as a third argument.
"""

from collections.abc import Callable

import tensorflow as tf

from tf_madry.errors import require
from tf_madry.runtime import numerics
from tf_madry.runtime.graphs import float32_logits

# Keeps a ratio of logits finite where they are all equal, without a weight anywhere else.
TINY = 1e-12

Loss = Callable[..., tf.Tensor]  # from (logits, labels) or (logits, labels, targets) to [batch]


def xent(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
  """Cross-entropy, the loss of training (Eq. 1) and of the paper's attacks."""
  return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


def margin(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
  """Logit of the label minus the largest other logit: negative where the model is wrong."""
  return _of(labels, logits) - tf.reduce_max(without(labels, logits), -1)


def cw(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
  """The loss of Carlini and Wagner (2017) as the challenge defines it, with its confidence of 50.

  It is flat, without a gradient, where the model is wrong by more than 50.
  """
  return -tf.nn.relu(margin(logits, labels) + 50.0)


def dlr(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
  """Difference of logits ratio (Croce and Hein 2020): the margin in units of the first logit's lead
  on the third.

  Neither a constant added to all logits nor a factor changes it, so that large logits do not hide
  its gradient as they do that of cross-entropy.

  Raises:
    UserError: fewer than 3 classes.
  """
  require_classes("dlr", logits.shape[-1])
  top = tf.math.top_k(logits, 3).values
  return -margin(logits, labels) / (top[:, 0] - top[:, 2] + TINY)


def difference(logits: tf.Tensor, labels: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
  """Logit of the target minus that of the label (Gowal et al. 2019): positive only where the model
  is wrong."""
  return _of(targets, logits) - _of(labels, logits)


def targeted_dlr(logits: tf.Tensor, labels: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
  """The targeted form of `dlr`, from the same paper: `difference` in units that no constant and no
  factor changes.

  Raises:
    UserError: fewer than 4 classes.
  """
  require_classes("targeted_dlr", logits.shape[-1])
  top = tf.math.top_k(logits, 4).values
  return difference(logits, labels, targets) / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + TINY)


LOSSES = {"xent": xent, "cw": cw, "dlr": dlr}
FEWEST_CLASSES = {"xent": 2, "cw": 2, "dlr": 3, "targeted_dlr": 4}


def require_classes(loss: str, num_classes: int) -> None:
  """Raises `UserError` if the loss of that name is not defined for so few classes."""
  fewest = FEWEST_CLASSES[loss]
  require(num_classes >= fewest, f"number of classes under loss {loss}", num_classes,
          f"at least {fewest}")


def without(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
  """The logits with that of the label at -inf, so that the largest one is another class's."""
  return tf.where(tf.one_hot(labels, logits.shape[-1], True, False), -float("inf"), logits)


@numerics.float32()
@tf.function(reduce_retracing=True)
def score(model: Callable[[tf.Tensor], tf.Tensor], images: tf.Tensor,
          labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """(whether the model is right, cross-entropy) of every example, each [batch]."""
  logits = float32_logits(model, images)
  return tf.argmax(logits, -1, tf.int32) == labels, xent(logits, labels)


def _of(labels, logits):
  return tf.gather(logits, labels, batch_dims=1)
