"""What counts as adversarial."""

import numpy as np
import pytest

from tests.helpers.evaluating import Numbered
from tf_madry.evaluation import verify


@pytest.mark.parametrize(("pixel", "counts"), [(1.0, True), (1.0 + 1e-6, False)])
def test_an_adversarial_example_has_no_pixel_beyond_the_range(pixel, counts):
  natural = np.full((1, 2, 2, 1), 0.9, np.float32)
  found = np.full_like(natural, pixel)
  assert verify.is_adversarial(Numbered(), natural, found, np.ones(1, np.int32), 0.3)[0] == counts
