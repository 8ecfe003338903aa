"""Networks in layers of Keras alone."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from tf_madry import models
from tf_madry.models import plain

IMAGES = np.random.default_rng(0).random((5, 28, 28, 1), np.float32)


@pytest.mark.parametrize(("shape", "classes"), [((28, 28, 1), 10), ((9, 7, 3), 4)])
def test_the_exported_network_has_the_same_logits(tmp_path, shape, classes):
  network = models.build("paper", shape, classes, initialization="he")
  path = str(tmp_path / "network.keras")
  plain.write(path, network)
  images = np.random.default_rng(0).random((5, *shape), np.float32)
  loaded = keras.saving.load_model(path)
  np.testing.assert_allclose(loaded(images), network(images), rtol=1e-4, atol=1e-4)
  assert {type(layer).__module__.partition(".")[0] for layer in loaded.layers} == {"keras"}


def test_it_loads_without_this_package(tmp_path):
  plain.write(str(tmp_path / "network.keras"), models.build("paper", (28, 28, 1), 10))
  code = ("import sys, keras; model = keras.saving.load_model('network.keras'); "
          "assert model.output_shape == (None, 10); assert 'tf_madry' not in sys.modules")
  subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True,
                 env=os.environ | {"PYTHONPATH": ""})
