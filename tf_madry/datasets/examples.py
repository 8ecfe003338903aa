"""Labelled images in memory, and their splits."""

import dataclasses
import hashlib
from typing import Any

import numpy as np

from tf_madry.errors import require

# One in twelve: 5,000 of MNIST's 60,000, as in the TensorFlow tutorial that the challenge trains with.
VALIDATION_SHARE = 12


@dataclasses.dataclass(frozen=True)
class Split:
  """Examples in a fixed order: `images` uint8 [n, h, w, c], `labels` int32 [n]."""

  images: np.ndarray
  labels: np.ndarray

  def __len__(self) -> int:
    return len(self.labels)

  def head(self, n: int) -> "Split":
    """The first `n` examples as a `Split`; `UserError` unless 1 <= n <= len(self)."""
    require(1 <= n <= len(self), "number of examples", n, f"1 to {len(self)}, as many as there are")
    return self.slice(0, n)

  def spread(self, n: int) -> "Split":
    """n examples evenly spread over all, which stand for the whole better than the first n do."""
    require(1 <= n <= len(self), "number of examples", n, f"1 to {len(self)}, as many as there are")
    indices = np.arange(n) * len(self) // n
    return Split(self.images[indices], self.labels[indices])

  def slice(self, start: int | None, stop: int | None) -> "Split":
    """The examples from `start` to before `stop`, as Python counts."""
    return Split(self.images[start:stop], self.labels[start:stop])


@dataclasses.dataclass(frozen=True)
class Dataset:
  """Three disjoint splits of a set with labels 0 … num_classes - 1."""

  name: str
  num_classes: int
  train: Split
  validation: Split
  test: Split

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """(h, w, c) of every image."""
    return self.train.images.shape[1:]

  @property
  def digest(self) -> str:
    """Tells data sets apart by the images and labels that training sees."""
    found = hashlib.sha256(self.train.images.tobytes())
    found.update(self.train.labels.tobytes())
    return found.hexdigest()[:16]


def carve_validation(train: Split) -> tuple[Split, Split]:
  """(train, validation) of a set without a validation split: its first twelfth becomes one."""
  border = len(train) // VALIDATION_SHARE
  return train.slice(border, None), train.slice(0, border)


def as_float(images: Any) -> Any:
  """uint8 images, a numpy array or a tensor, as float32 of the same kind in [0, 1]: x / 255.

  The same bits in NumPy, in TensorFlow and inside a `tf.function`: TensorFlow's compiler turns a
  division by a constant into this multiplication, and the TensorFlow tutorial, whose images the
  challenge trains on, multiplies as well.
  """
  if images.dtype != "uint8":
    raise TypeError(f"images are {images.dtype}, accepted: uint8")
  scale = np.float32(1 / 255)
  if isinstance(images, np.ndarray):
    return images.astype(np.float32) * scale
  import tensorflow as tf

  return tf.cast(images, tf.float32) * scale
