"""MNIST from the files shipped in `tf_madry/mnist`, in the original order.

Row i of the challenge's attack files is test image i of that order.
"""

import gzip
import hashlib
import pathlib
import struct

import numpy as np

from tf_madry.datasets.examples import Dataset, Split, carve_validation
from tf_madry.errors import UserError

FOLDER = pathlib.Path(__file__).parent.parent / "mnist"
SHA256 = {
  "train-images-idx3-ubyte.gz": "0b367032e93c5d0cea0925647cfdb18614af8ee15f83e6f2fc2ad904a6835971",
  "train-labels-idx1-ubyte.gz": "1787548bbe0bff1ec2ecdc0ef292b02df999e2d1a6002d27500982c652b17203",
  "t10k-images-idx3-ubyte.gz": "1a1a05eab793c14bb050b398624a11b0ffd1a2953baed553b1b9bd079e2a20be",
  "t10k-labels-idx1-ubyte.gz": "b91679a0acfe4ba0e50a2437a903084cba1f5f92592b016a25a7dfd00455798b",
}


def load(folder: pathlib.Path = FOLDER) -> Dataset:
  """Reads the four files of a folder; `UserError` if one is missing or damaged."""
  train, test = (Split(_read(folder / f"{split}-images-idx3-ubyte.gz"),
                       _read(folder / f"{split}-labels-idx1-ubyte.gz"))
                 for split in ("train", "t10k"))
  train, validation = carve_validation(train)
  return Dataset("mnist", 10, train, validation, test)


def _read(path):
  try:
    data = path.read_bytes()
  except OSError as error:
    raise UserError(f"{path} cannot be read ({error.strerror}): restore it from the source of this "
                    "package") from error
  digest = hashlib.sha256(data).hexdigest()
  if digest != SHA256[path.name]:
    raise UserError(f"{path} is damaged (SHA-256 {digest}, accepted: {SHA256[path.name]}): "
                    "restore it from the source of this package")
  array = parse_idx(gzip.decompress(data))
  return array[..., np.newaxis] if array.ndim == 3 else array.astype(np.int32)


def parse_idx(data: bytes) -> np.ndarray:
  """The uint8 array of an idx file: two zero bytes, type 8, rank, big-endian sizes, the values."""
  zeros, kind, rank = struct.unpack_from(">HBB", data)
  if (zeros, kind) != (0, 8):
    raise ValueError(f"idx magic is {data[:4].hex()}, accepted: 000008 and the rank")
  shape = struct.unpack_from(f">{rank}I", data, 4)
  return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)
