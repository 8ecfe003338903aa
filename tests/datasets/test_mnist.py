"""MNIST: what is read, in which order, and what damage looks like."""

import gzip
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tests.helpers.errors import error_of
from tests.helpers.processes import ROOT
from tf_madry import datasets
from tf_madry.datasets import mnist as mnist_files


@pytest.fixture(scope="module")
def mnist():
  return datasets.load("mnist")


@pytest.fixture
def mnist_copy(tmp_path):
  return shutil.copytree(mnist_files.FOLDER, tmp_path / "mnist")


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
  assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize("name", sorted(mnist_files.SHA256))
def test_damaged_mnist_file_is_named(mnist_copy, name):
  path = mnist_copy / name
  values = bytearray(gzip.decompress(path.read_bytes()))
  values[-1] ^= 1  # still a whole gzip file and a whole idx file
  path.write_bytes(gzip.compress(bytes(values), compresslevel=1))
  assert str(path) in error_of(mnist_files.load, mnist_copy)


def test_truncated_and_missing_mnist_files_are_named(mnist_copy):
  path = mnist_copy / "t10k-images-idx3-ubyte.gz"
  path.write_bytes(path.read_bytes()[:1000])
  assert str(path) in error_of(mnist_files.load, mnist_copy)
  path.unlink()
  assert str(path) in error_of(mnist_files.load, mnist_copy)


def test_idx_header():
  header = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3])
  assert mnist_files.parse_idx(header + bytes(range(6))).tolist() == [[0, 1, 2], [3, 4, 5]]
  with pytest.raises(ValueError, match="00000d02"):
    mnist_files.parse_idx(b"\0\0\x0d" + header[3:] + bytes(24))  # 0x0d: floats
  with pytest.raises(ValueError, match="reshape"):
    mnist_files.parse_idx(header + bytes(5))
