"""Image classification sets held in memory, and the order in which training sees them.

`load("mnist")` reads the files shipped in `mnist/`, in the original order: row i of the challenge's attack files is
test image i of that order. `load("tfds:NAME")` goes through tensorflow-datasets, which downloads what it does not have
yet (and keeps its own copy of MNIST in a shuffled order).
"""

import contextlib
import dataclasses
import functools
import gzip
import hashlib
import logging
import pathlib
import struct
import sys
import textwrap

import numpy as np

from tf_madry.errors import UserError, require

MNIST_DIR = pathlib.Path(__file__).parent.parent / "mnist"
MNIST_SHA256 = {
  "train-images-idx3-ubyte.gz": "0b367032e93c5d0cea0925647cfdb18614af8ee15f83e6f2fc2ad904a6835971",
  "train-labels-idx1-ubyte.gz": "1787548bbe0bff1ec2ecdc0ef292b02df999e2d1a6002d27500982c652b17203",
  "t10k-images-idx3-ubyte.gz": "1a1a05eab793c14bb050b398624a11b0ffd1a2953baed553b1b9bd079e2a20be",
  "t10k-labels-idx1-ubyte.gz": "b91679a0acfe4ba0e50a2437a903084cba1f5f92592b016a25a7dfd00455798b",
}
VALIDATION_SHARE = 12  # one in twelve: 5,000 of MNIST's 60,000, as in the TensorFlow tutorial the challenge trains with


@dataclasses.dataclass(frozen=True)
class Split:
  """Examples in a fixed order: `images` uint8 [n, h, w, c], `labels` int32 [n]."""

  images: np.ndarray
  labels: np.ndarray

  def __len__(self):
    return len(self.labels)

  def head(self, n):
    """The first `n` examples as a `Split`; `UserError` unless 1 <= n <= len(self)."""
    require(1 <= n <= len(self), "number of examples", n, f"1 to {len(self)}, as many as there are")
    return self._slice(0, n)

  def _slice(self, start, stop):
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
  def image_shape(self):
    """(h, w, c) of every image."""
    return self.train.images.shape[1:]


def load(name="mnist"):
  """Loads a data set into memory.

  Without a validation split of its own, the first twelfth of a set's training examples is the validation split; for
  MNIST that leaves the paper's 55,000 to train on (Section 6). Without a test split, the validation split takes its
  place.

  Args:
    name: "mnist", or "tfds:NAME" for a set of tensorflow-datasets that has one fixed image size and one class label an
      example, such as "tfds:fashion_mnist", "tfds:emnist/digits" or "tfds:cifar10".

  Returns:
    A `Dataset`; its order is the same at every call.

  Raises:
    UserError: the name is unknown, a file is missing or damaged, or the set cannot be had or is of another kind.
  """
  if name == "mnist":
    return _load_mnist()
  prefix, _, tfds_name = name.partition(":")
  require(prefix == "tfds" and tfds_name, "dataset", name, "mnist, or tfds:NAME such as tfds:fashion_mnist")
  return _load_tfds(name, tfds_name)


def as_float(images):
  """uint8 images, a numpy array or a tensor, as float32 of the same kind in [0, 1]: x / 255.

  The same bits in NumPy, in TensorFlow and inside a `tf.function`: TensorFlow's compiler turns a division by a constant
  into this multiplication, and the TensorFlow tutorial, whose images the challenge trains on, multiplies as well.
  """
  if images.dtype != "uint8":
    raise TypeError(f"images are {images.dtype}, accepted: uint8")
  scale = np.float32(1 / 255)
  if isinstance(images, np.ndarray):
    return images.astype(np.float32) * scale
  import tensorflow as tf

  return tf.cast(images, tf.float32) * scale


@dataclasses.dataclass(frozen=True)
class Batches:
  """The batches of a training run as a pure function of (seed, step).

  One endless stream of example numbers, a new permutation of all of them each epoch, is cut into pieces of
  `batch_size`: a batch may run across the border of two epochs, and every example comes exactly once an epoch.

  Raises:
    UserError: `batch_size` is below 1 or above `num_examples`, or `seed` is negative.
  """

  num_examples: int
  batch_size: int
  seed: int

  def __post_init__(self):
    require(1 <= self.batch_size <= self.num_examples, "batch size", self.batch_size,
            f"1 to {self.num_examples}, the number of training examples")
    require(self.seed >= 0, "seed", self.seed, "0 or more")

  def indices(self, step):
    """The numbers of the examples of batch `step`, counted from 0: int32 [batch_size]."""
    epoch, start = divmod(step * self.batch_size, self.num_examples)
    head = _epoch_order(self.num_examples, self.seed, epoch)[start:start + self.batch_size]
    tail = _epoch_order(self.num_examples, self.seed, epoch + 1)[:self.batch_size - len(head)]
    return np.concatenate([head, tail])


_EPOCH_ORDER = 1  # purpose: keeps this use of the seed apart from any other


@functools.lru_cache(maxsize=2)
def _epoch_order(num_examples, seed, epoch):
  # The raw bits of a bit generator never change between NumPy versions; what Generator.permutation makes of them may.
  bits = np.random.Philox(np.random.SeedSequence(seed, spawn_key=(_EPOCH_ORDER, epoch)))
  return np.argsort(bits.random_raw(num_examples), kind="stable").astype(np.int32)


def _load_mnist():
  train = Split(*(_read_mnist(f"train-{part}-ubyte.gz") for part in ("images-idx3", "labels-idx1")))
  test = Split(*(_read_mnist(f"t10k-{part}-ubyte.gz") for part in ("images-idx3", "labels-idx1")))
  train, validation = _carve_validation(train)
  return Dataset("mnist", 10, train, validation, test)


def _carve_validation(train):
  border = len(train) // VALIDATION_SHARE
  return train._slice(border, None), train._slice(0, border)


def _read_mnist(name):
  path = MNIST_DIR / name
  try:
    data = path.read_bytes()
  except OSError as error:
    raise UserError(f"{path} cannot be read ({error.strerror}): restore it from the source of this package") from error
  digest = hashlib.sha256(data).hexdigest()
  if digest != MNIST_SHA256[name]:
    raise UserError(f"{path} is damaged (SHA-256 {digest}, accepted: {MNIST_SHA256[name]}): "
                    "restore it from the source of this package")
  array = _parse_idx(gzip.decompress(data))
  return array[..., np.newaxis] if array.ndim == 3 else array.astype(np.int32)


def _parse_idx(data):
  """The uint8 array in `data`, an idx file: two zero bytes, type 8, the rank, the big-endian sizes, the values."""
  zeros, kind, rank = struct.unpack_from(">HBB", data)
  if (zeros, kind) != (0, 8):
    raise ValueError(f"idx magic is {data[:4].hex()}, accepted: 000008 and the rank")
  shape = struct.unpack_from(f">{rank}I", data, 4)
  return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


def _load_tfds(name, tfds_name):
  with _quiet_tfds() as tfds:
    with _one_line_errors(name, "cannot be opened"):
      try:
        builder = tfds.builder(tfds_name)
      except tfds.core.DatasetNotFoundError as error:
        raise UserError(f"dataset is {name!r}, accepted: tfds:NAME with a name out of "
                        "https://www.tensorflow.org/datasets/catalog/overview") from error
      image_key, label_key = _image_and_label(tfds.features, name, builder.info)
    with _one_line_errors(name, "cannot be downloaded or prepared"):
      builder.download_and_prepare()
    label = builder.info.features[label_key]

    def read(split):
      with _one_line_errors(name, f"cannot be read ({split})"):
        batches = list(tfds.as_numpy(builder.as_dataset(
          split=split, batch_size=1024, shuffle_files=False,
          decoders=tfds.decode.PartialDecoding({image_key: True, label_key: True}),
          read_config=tfds.ReadConfig(try_autocache=False, interleave_cycle_length=1))))
        images, labels = (np.concatenate([batch[key] for batch in batches]) for key in (image_key, label_key))
      if labels.min() < 0:
        raise UserError(f"dataset {name} has examples without a label ({split}), accepted: labelled examples only")
      return Split(images, labels.astype(np.int32))

    splits = list(builder.info.splits)
    held_out = [split for split in ("test", "validation") if split in splits]
    if "train" not in splits or not held_out:
      raise UserError(f"dataset {name} has the splits {splits}, accepted: train and one of test and validation")
    train, test = read("train"), read(held_out[0])
    train, validation = (train, read("validation")) if len(held_out) == 2 else _carve_validation(train)
  return Dataset(name, label.num_classes, train, validation, test)


def _image_and_label(kinds, name, info):
  """The keys of the image and of its label: what the set itself calls supervised, or else the only ones there are."""
  features = dict(info.features.items()) if isinstance(info.features, kinds.FeaturesDict) else {}
  keys = info.supervised_keys or [
    key for kind in (kinds.Image, kinds.ClassLabel) for key, feature in features.items() if isinstance(feature, kind)]
  image, label = map(features.get, keys) if len(keys) == 2 else (None, None)
  if not isinstance(image, kinds.Image) or not isinstance(label, kinds.ClassLabel):
    raise UserError(f"dataset {name} is not an image classification set, accepted: one image and one class label "
                    "an example")
  if None in image.shape or image.np_dtype != np.uint8:
    raise UserError(f"dataset {name} has {np.dtype(image.np_dtype)} images of shape {image.shape} (None: it varies), "
                    "accepted: uint8 images of one fixed size")
  return keys


@contextlib.contextmanager
def _one_line_errors(name, trouble):
  try:
    yield
  except UserError:
    raise
  except Exception as error:  # whatever a set's own code, its reader or a download may raise
    reason = textwrap.shorten(f"{type(error).__name__}: {error}", 200, placeholder=" …")
    raise UserError(f"dataset {name} {trouble}: {reason}") from error


@contextlib.contextmanager
def _quiet_tfds():
  """tensorflow-datasets with its notices on stderr, progress bars only in a terminal and no warning for each retry."""
  import tensorflow_datasets as tfds
  from tensorflow_datasets.core.download import downloader

  downloader.MAX_RETRIES = 4  # three seconds; its own 10 retries are 200 silent ones on a machine without network
  # For good, not for the length of the block: when one of several downloads fails, the others go on in their threads.
  logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
  if not sys.stderr.isatty():
    tfds.disable_progress_bar()
  with contextlib.redirect_stdout(sys.stderr):
    yield tfds
