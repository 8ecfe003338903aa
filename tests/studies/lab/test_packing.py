"""Arrays as text."""

import json

import numpy as np

from tf_madry.studies.lab import packing


def test_arrays_survive_being_text():
  array = np.arange(24, dtype=np.int8).reshape(2, 3, 4)
  assert np.array_equal(packing.unpack(json.loads(json.dumps(packing.pack(array)))), array)


def test_bits_survive_being_text_whatever_their_number():
  for n in (1, 7, 8, 2_001):
    values = np.random.default_rng(n).random(n) < 0.5
    assert np.array_equal(packing.unpack_bits(json.loads(json.dumps(packing.pack_bits(values))), n),
                          values)
