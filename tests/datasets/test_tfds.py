"""Sets of tensorflow-datasets: what is read, and what is refused."""

import os
import subprocess
import sys

import numpy as np
import pytest

from tests.helpers.errors import error_of
from tests.helpers.processes import ROOT
from tf_madry import datasets
from tf_madry.datasets import Split


@pytest.fixture
def tfds(tmp_path, monkeypatch):
  """tensorflow-datasets with its data under `tmp_path`."""
  import tensorflow_datasets
  from tensorflow_datasets.core import constants

  monkeypatch.setattr(constants, "DATA_DIR", str(tmp_path))
  return tensorflow_datasets


@pytest.fixture
def mocked(tfds, tmp_path):
  """Random examples for one set: `mocked(name, splits, n)` is a context in which it loads without a network."""

  def mock(name, splits, n):
    # mock_data knows no split names unless there is metadata like that of a set that has been prepared.
    info = tfds.builder(name, data_dir=tmp_path).info
    info.set_splits(tfds.core.splits.SplitDict([
      tfds.core.SplitInfo(name=split, shard_lengths=[n], num_bytes=0) for split in splits]))
    os.makedirs(info.data_dir)
    info.write_to_directory(info.data_dir)
    return tfds.testing.mock_data(num_examples=n, data_dir=str(tmp_path))

  return mock


@pytest.fixture
def stored(tfds, tmp_path):
  """A real set on disk, loaded as tfds:toy: `stored({split: labels}, shape)`; an image is filled with its number."""

  def store(splits, shape=(4, 6, 3), **more):
    def examples(labels):
      for number, label in enumerate(labels):
        image = np.full([size or 4 + number for size in shape], number, np.uint8)
        yield number, {"image": image, "label": label, **dict.fromkeys(more, 0)}

    tfds.dataset_builders.store_as_tfds_dataset(
      "toy", "1.0.0", data_dir=tmp_path, disable_shuffling=True,
      split_datasets={split: examples(labels) for split, labels in splits.items()},
      features=tfds.features.FeaturesDict({
        "image": tfds.features.Image(shape=shape), "label": tfds.features.ClassLabel(num_classes=7), **more}))

  return store


@pytest.mark.parametrize(("name", "shape", "num_classes"), [
  ("fashion_mnist", (28, 28, 1), 10), ("emnist/digits", (28, 28, 1), 10), ("cifar10", (32, 32, 3), 10),
  ("cifar100", (32, 32, 3), 100)])
def test_tfds_sets(mocked, name, shape, num_classes):
  with mocked(name, ["train", "test"], n=36):
    dataset = datasets.load(f"tfds:{name}")
    again = datasets.load(f"tfds:{name}")
  assert (dataset.name, dataset.image_shape, dataset.num_classes) == (f"tfds:{name}", shape, num_classes)
  assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (33, 3, 36)
  for part in ("train", "validation", "test"):
    split, same = getattr(dataset, part), getattr(again, part)
    assert split.images.dtype == np.uint8 and split.labels.dtype == np.int32
    assert split.labels.min() >= 0 and split.labels.max() < num_classes
    np.testing.assert_array_equal(split.images, same.images)
    np.testing.assert_array_equal(split.labels, same.labels)


def numbers(split: Split):
  assert (split.images == split.images[:, :1, :1, :1]).all()
  return split.images[:, 0, 0, 0].tolist()


def test_tfds_carves_validation_from_the_front_of_train(stored):
  train, test = [n % 7 for n in range(24)], [n % 5 for n in range(9)]
  stored({"train": train, "test": test})
  dataset = datasets.load("tfds:toy")
  assert numbers(dataset.validation) == [0, 1] and dataset.validation.labels.tolist() == train[:2]
  assert numbers(dataset.train) == list(range(2, 24)) and dataset.train.labels.tolist() == train[2:]
  assert numbers(dataset.test) == list(range(9)) and dataset.test.labels.tolist() == test
  assert (dataset.image_shape, dataset.num_classes) == ((4, 6, 3), 7)


def test_tfds_keeps_a_validation_split_of_its_own(stored):
  stored({"train": [1] * 24, "validation": [2] * 5, "test": [3] * 6})
  dataset = datasets.load("tfds:toy")
  assert [dataset.train.labels.tolist(), dataset.validation.labels.tolist(), dataset.test.labels.tolist()] == [
    [1] * 24, [2] * 5, [3] * 6]


def test_tfds_tests_on_validation_where_there_is_no_test_split(stored):
  stored({"train": [1] * 24, "validation": [2] * 5})
  dataset = datasets.load("tfds:toy")
  assert dataset.test.labels.tolist() == [2] * 5
  assert dataset.validation.labels.tolist() == [1] * 2 and len(dataset.train) == 22


def test_tfds_set_without_held_out_examples_is_refused(stored):
  stored({"train": [1] * 24})
  message = error_of(datasets.load, "tfds:toy")
  assert "train" in message and "validation" in message


def test_tfds_set_with_unlabelled_examples_is_refused(stored):
  stored({"train": [1] * 24, "test": [-1] * 3})
  assert "(test)" in error_of(datasets.load, "tfds:toy")


def test_tfds_set_of_varying_sizes_is_refused(stored):
  stored({"train": [1] * 3, "test": [1] * 3}, shape=(None, 6, 3))
  assert "(None, 6, 3)" in error_of(datasets.load, "tfds:toy")


def test_tfds_set_of_other_kind_is_refused(tfds, stored):
  stored({"train": [1] * 24, "test": [1] * 3}, colour=tfds.features.ClassLabel(num_classes=2))
  for name in ("tfds:toy", "tfds:imdb_reviews", "tfds:coco"):  # two labels; a text; boxes
    assert f"{name} is not an image classification set" in error_of(datasets.load, name)


def test_damaged_tfds_set_is_named(stored, tmp_path):
  stored({"train": [1] * 24, "test": [1] * 3})
  path = next(tmp_path.glob("toy/1.0.0/toy-test*"))
  path.write_bytes(path.read_bytes()[:-5])
  assert "tfds:toy cannot be read (test)" in error_of(datasets.load, "tfds:toy")


@pytest.mark.parametrize("name", [
  "", "mnst", "tfds", "tfds:", "MNIST", "tfds:nonesuch", "tfds:emnist/nonesuch", "tfds:../up"])
def test_unknown_names_are_refused(tfds, name):
  assert name in error_of(datasets.load, name)


def test_unreachable_tfds_set(tmp_path):
  # Nothing listens on port 9 of this machine: no network, wherever the test runs.
  offline = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "no_proxy": ""}
  code = ("from tf_madry import datasets, errors\n"
          "try:\n  datasets.load('tfds:fashion_mnist')\n"
          "except errors.UserError as error:\n  print(error)")
  done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT,
                        env={**os.environ, **offline, "TFDS_DATA_DIR": str(tmp_path)})
  assert done.returncode == 0, done.stderr
  assert done.stdout.startswith("dataset tfds:fashion_mnist cannot be downloaded or prepared: ")
  assert done.stdout.count("\n") == 1
  assert "Retrying" not in done.stderr and "Traceback" not in done.stderr
