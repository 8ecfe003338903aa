"""Arrays as text, for JSON."""

import base64
import io

import numpy as np


def pack(array: np.ndarray) -> str:
  """Any array, compressed."""
  file = io.BytesIO()
  np.savez_compressed(file, array=array)
  return base64.b64encode(file.getvalue()).decode()


def unpack(text: str) -> np.ndarray:
  """The array that `pack` packed."""
  with np.load(io.BytesIO(base64.b64decode(text)), allow_pickle=False) as archive:
    return archive["array"]


def pack_bits(values: np.ndarray) -> str:
  """A bool array [n], eight values a byte."""
  return base64.b64encode(np.packbits(values).tobytes()).decode()


def unpack_bits(text: str, n: int) -> np.ndarray:
  """The bool array [n] that `pack_bits` packed."""
  return np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8), count=n).astype(bool)
