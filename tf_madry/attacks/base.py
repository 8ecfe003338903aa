"""What an attack is, and what all of them ask of their arguments."""

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import tensorflow as tf

from tf_madry.attacks.losses import FEWEST_CLASSES, require_classes
from tf_madry.errors import UserError, require
from tf_madry.runtime import numerics

LABEL = "label is {}, accepted: whole numbers from 0 to {}, the classes of the model"

# From float32 images [batch, height, width, channels] to logits [batch, classes].
Model = Callable[[tf.Tensor], tf.Tensor]
Seed = int | tf.Tensor  # see `seeds.key`


class Cost(NamedTuple):
  """What an attack asks of a model for one example that stands to the end.

  Of an attack that gives examples up, what it takes on a robust network.
  """

  gradients: int  # forward and backward passes
  forwards: int  # forward passes alone


class Attack(Protocol):
  """A search for adversarial images in the ℓ∞ ball: a frozen dataclass, whose `repr` says all to
  run it again."""

  @property
  def epsilon(self) -> float:
    """Radius of the ball, in units of the pixel range."""

  @property
  def randomised(self) -> bool:
    """Whether another seed is another attack."""

  @property
  def fewest_classes(self) -> int:
    """How many classes a model has to tell apart for the attack to be defined."""

  def cost(self, num_classes: int) -> Cost:
    """What it asks of a model of so many classes."""

  def __call__(self, model: Model, images: tf.Tensor, labels: tf.Tensor, *,
               seed: Seed = 0) -> tf.Tensor:
    """Attacks a batch.

    Args:
      model: the model to craft on.
      images: [batch, height, width, channels] in [0, 1].
      labels: classes, integers [batch].
      seed: the same one gives the same images.

    Returns:
      float32 images of the same shape, in the ball and in [0, 1].

    Raises:
      UserError: pixels outside [0, 1], not one label an image, or a model of too few classes.
    """


class Ensemble(Protocol):
  """Attacks that run one after another, each on what those before it left standing
  (`evaluation.runner`)."""

  @property
  def epsilon(self) -> float:
    """Radius of the ball, in units of the pixel range."""

  def members(self) -> dict[str, Attack]:
    """The attacks by name, in the order in which they run."""


def prepare(model: Model, images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """The arguments of an attack as float32 and int32 tensors.

  Raises:
    UserError: pixels outside [0, 1], not one label an image, labels that are no classes of the
      model, a Keras model that does not run on TensorFlow.
  """
  numerics.require_tensorflow(model)
  require(tf.executing_eagerly(), "an attack", "called inside a graph",
          "eager calls: it compiles itself, and has to see the images")
  images, classes = tf.cast(images, tf.float32), tf.convert_to_tensor(labels)
  labels = tf.cast(classes, tf.int32)
  require(labels.shape == images.shape[:1], "shape of labels", tuple(labels.shape),
          f"{tuple(images.shape[:1])}")
  if tf.size(images) > 0:
    low, high = float(tf.reduce_min(images)), float(tf.reduce_max(images))
    require(low >= 0 and high <= 1, "range of pixels", (low, high), "numbers from 0 to 1")
    declared = declared_classes(model)
    known = (labels >= 0) & (labels < (declared or tf.int32.max))
    known &= tf.cast(labels, classes.dtype) == classes
    if not tf.reduce_all(known):
      wrong = classes[~known][0].numpy().item()
      raise UserError(LABEL.format(wrong, declared - 1 if declared else "the last"))
  return images, labels


@contextlib.contextmanager
def known_labels() -> Iterator[None]:
  """Around what first meets the labels: `UserError` where TensorFlow finds one that is no class of
  the model."""
  try:
    yield
  except tf.errors.InvalidArgumentError as error:
    if found := re.search(r"label value of (\S+) which is outside the valid range of \[0, (\d+)\)",
                          error.message):
      raise UserError(LABEL.format(found[1], int(found[2]) - 1)) from error
    raise


def later(default: Any = None) -> Any:
  """A field that an attack was given later: at its default the `repr` leaves it out (`brief`).

  So what is known under an earlier `repr`, in records and caches, stays known.
  """
  return dataclasses.field(default=default, metadata={"later": True})


def brief(attack: Any) -> str:
  """The `repr` of a dataclass, without `later` fields at their default."""
  shown = [f"{field.name}={getattr(attack, field.name)!r}" for field in dataclasses.fields(attack)
           if not field.metadata.get("later") or getattr(attack, field.name) != field.default]
  return f"{type(attack).__name__}({', '.join(shown)})"


def check_patience(patience: float | None) -> None:
  """Raises `UserError` unless a patience can be one."""
  require(patience is None or 0 < patience < float("inf"), "patience", patience, "a number above 0")


def declared_classes(model: Model) -> int | None:
  """How many logits a Keras model has; of another, which would have to be run for it, None."""
  shape = getattr(model, "output_shape", None)
  return shape[-1] if isinstance(shape, tuple) else None


def num_classes(model: Model, images: tf.Tensor) -> int:
  """How many logits the model has."""
  return declared_classes(model) or model(images[:1]).shape[-1]


def require_enough_classes(loss: str, model: Model, images: tf.Tensor) -> None:
  """As `losses.require_classes`; asks the model, which takes time, only where the loss is
  particular."""
  if FEWEST_CLASSES[loss] > 2:
    require_classes(loss, num_classes(model, images))
