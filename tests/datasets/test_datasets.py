"""Data sets: what is read, in which order, what is refused, and the batches cut from it."""

import gzip
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tf_madry import datasets
from tf_madry.datasets import Batches, Split
from tf_madry.errors import UserError

CHECKOUT = datasets.MNIST_DIR.parents[1]


@pytest.fixture(scope="module")
def mnist():
  return datasets.load("mnist")


@pytest.fixture
def mnist_copy(tmp_path, monkeypatch):
  folder = tmp_path / "mnist"
  shutil.copytree(datasets.MNIST_DIR, folder)
  monkeypatch.setattr(datasets, "MNIST_DIR", folder)
  return folder


def error_of(function, *args):
  """The message of the `UserError` that a call ends with; it has to be one line."""
  with pytest.raises(UserError) as caught:
    function(*args)
  message = str(caught.value)
  assert "\n" not in message and len(message) < 500
  return message


# --- MNIST


def test_mnist_splits_and_order(mnist):
  assert (len(mnist.train), len(mnist.validation), len(mnist.test)) == (55_000, 5_000, 10_000)
  assert (mnist.name, mnist.num_classes, mnist.image_shape) == ("mnist", 10, (28, 28, 1))
  # The well-known first labels of the two original files; the first 5,000 training images are the validation split.
  assert mnist.validation.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
  assert mnist.test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
  labels = np.concatenate([mnist.validation.labels, mnist.train.labels])
  assert np.bincount(labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


def test_mnist_types_and_values(mnist):
  for split in (mnist.train, mnist.validation, mnist.test):
    assert split.images.dtype == np.uint8 and split.labels.dtype == np.int32
    assert split.images.shape == (len(split), 28, 28, 1)
  # The mean and deviation everyone normalizes the 60,000 with are 0.1307 and 0.3081.
  images = np.concatenate([mnist.validation.images, mnist.train.images])
  assert images.mean() / 255 == pytest.approx(0.1307, abs=5e-5)
  assert images.std() / 255 == pytest.approx(0.3081, abs=5e-5)


def test_mnist_needs_no_tensorflow():
  code = "import sys; from tf_madry import datasets; datasets.load(); sys.exit('tensorflow' in sys.modules)"
  assert subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT).returncode == 0


@pytest.mark.parametrize("name", sorted(datasets.MNIST_SHA256))
def test_damaged_mnist_file_is_named(mnist_copy, name):
  path = mnist_copy / name
  values = bytearray(gzip.decompress(path.read_bytes()))
  values[-1] ^= 1  # still a whole gzip file and a whole idx file
  path.write_bytes(gzip.compress(bytes(values), compresslevel=1))
  assert str(path) in error_of(datasets.load, "mnist")


def test_truncated_and_missing_mnist_files_are_named(mnist_copy):
  path = mnist_copy / "t10k-images-idx3-ubyte.gz"
  path.write_bytes(path.read_bytes()[:1000])
  assert str(path) in error_of(datasets.load, "mnist")
  path.unlink()
  assert str(path) in error_of(datasets.load, "mnist")


def test_idx_header():
  header = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3])
  assert datasets._parse_idx(header + bytes(range(6))).tolist() == [[0, 1, 2], [3, 4, 5]]
  with pytest.raises(ValueError, match="00000d02"):
    datasets._parse_idx(b"\0\0\x0d" + header[3:] + bytes(24))  # 0x0d: floats
  with pytest.raises(ValueError, match="reshape"):
    datasets._parse_idx(header + bytes(5))


# --- splits and pixels


def test_head(mnist):
  head = mnist.test.head(3)
  assert len(head) == 3 and head.labels.tolist() == [7, 2, 1]
  np.testing.assert_array_equal(head.images, mnist.test.images[:3])
  assert len(mnist.test.head(10_000)) == 10_000
  assert "10000" in error_of(mnist.test.head, 10_001)
  for n in (0, -1):
    assert str(n) in error_of(mnist.test.head, n)


def test_as_float_is_the_same_everywhere():
  import tensorflow as tf

  pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
  floats = datasets.as_float(pixels)
  assert isinstance(floats, np.ndarray) and floats.dtype == np.float32 and floats.shape == pixels.shape
  # Half a unit in the last place below 1 from rounding 1/255, as much again from rounding the product.
  np.testing.assert_allclose(floats.ravel(), np.arange(256) / 255, rtol=2**-23)
  assert floats.min() == 0.0 and floats.max() == 1.0
  tensor = tf.constant(pixels)
  eager, traced = datasets.as_float(tensor), tf.function(datasets.as_float)(tensor)
  assert eager.dtype == traced.dtype == tf.float32
  np.testing.assert_array_equal(eager, floats)
  np.testing.assert_array_equal(traced, floats)


def test_as_float_refuses_what_is_scaled_already():
  with pytest.raises(TypeError, match="float32"):
    datasets.as_float(np.zeros((1, 28, 28, 1), np.float32))


# --- batches


def test_every_example_once_an_epoch_across_borders():
  n, size, epochs = 10, 4, 6  # 60 places, 15 batches: some lie across the border of two epochs
  batches = Batches(n, size, seed=3)
  pieces = [batches.indices(step) for step in range(epochs * n // size)]
  assert all(piece.dtype == np.int32 and piece.shape == (size,) for piece in pieces)
  stream = np.concatenate(pieces).reshape(epochs, n)
  np.testing.assert_array_equal(np.sort(stream, axis=1), np.tile(np.arange(n), (epochs, 1)))


def test_stream_does_not_depend_on_the_batch_size():
  def stream(size):
    batches = Batches(12, size, seed=5)
    return np.concatenate([batches.indices(step) for step in range(36 // size)])

  np.testing.assert_array_equal(stream(12), stream(4))
  np.testing.assert_array_equal(stream(12), stream(9))


def test_batches_depend_on_nothing_but_seed_and_step():
  steps = [0, 1000, 3, 429, 430, 860, 3, 10**9]
  batches = Batches(55_000, 128, seed=7)
  expected = [batches.indices(step) for step in steps]
  for step, indices in reversed(list(zip(steps, expected, strict=True))):
    Batches(55_000, 128, seed=8).indices(step)
    np.testing.assert_array_equal(Batches(55_000, 128, seed=7).indices(step), indices)


def test_what_a_caller_does_to_a_batch_stays_with_the_caller():
  batches = Batches(10, 4, seed=0)
  expected = batches.indices(0).copy()
  batches.indices(0)[:] = -1
  np.testing.assert_array_equal(batches.indices(0), expected)


def test_batches_stay_as_they_are():
  # A resumed run needs the order its first part had, whatever NumPy and this package have become since.
  assert Batches(10, 10, seed=0).indices(0).tolist() == [4, 6, 3, 5, 2, 9, 1, 0, 7, 8]
  assert Batches(55_000, 4, seed=4557077).indices(100_000).tolist() == [1364, 13958, 26582, 39410]


def test_each_epoch_and_seed_has_its_own_permutation():
  orders = [tuple(Batches(50, 50, seed).indices(epoch)) for seed in (0, 1, 2**40) for epoch in range(20)]
  assert len(set(orders)) == len(orders)


def test_permutations_are_fair():
  # Each of 5 examples comes first in about 1,000 of 5,000 epochs: 5 standard deviations are 141.
  first = [Batches(5, 5, seed=11).indices(epoch)[0] for epoch in range(5_000)]
  assert np.abs(np.bincount(first, minlength=5) - 1_000).max() < 141


def test_impossible_batches_are_refused():
  message = error_of(Batches, 100, 101, 0)
  assert "101" in message and "100" in message
  assert "0" in error_of(Batches, 100, 0, 0)
  assert "-1" in error_of(Batches, 100, 10, -1)
  assert sorted(Batches(100, 100, 0).indices(1)) == list(range(100))


# --- tensorflow-datasets


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
  done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=CHECKOUT,
                        env={**os.environ, **offline, "TFDS_DATA_DIR": str(tmp_path)})
  assert done.returncode == 0, done.stderr
  assert done.stdout.startswith("dataset tfds:fashion_mnist cannot be downloaded or prepared: ")
  assert done.stdout.count("\n") == 1
  assert "Retrying" not in done.stderr and "Traceback" not in done.stderr
