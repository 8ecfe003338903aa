"""Image classification sets of tensorflow-datasets."""

import contextlib
import logging
import sys
import textwrap

import numpy as np

from tf_madry.datasets.examples import Dataset, Split, carve_validation
from tf_madry.errors import UserError


def load(tfds_name: str) -> Dataset:
  """Loads the set that tensorflow-datasets knows by that name, which downloads what it does not have yet.

  Raises:
    UserError: there is no such set, it is of another kind than `datasets.load` says, or cannot be
      had.
  """
  name = f"tfds:{tfds_name}"
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
    train, validation = (train, read("validation")) if len(held_out) == 2 else carve_validation(train)
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
  # For good, not for the length of the block: when one of several downloads fails, the others go on
  # in their threads.
  logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
  if not sys.stderr.isatty():
    tfds.disable_progress_bar()
  with contextlib.redirect_stdout(sys.stderr):
    yield tfds
