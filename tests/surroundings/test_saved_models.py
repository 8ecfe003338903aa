"""Models that are saved by Keras, and loaded where nobody has heard of their layers."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from tests.helpers import processes, settings
from tf_madry.models import network
from tf_madry.models.plain import plain
from tf_madry.training.optimizer import Adam

# What another process loads: after `import tf_madry` alone, which does not even import Keras.
LOADS = """
import sys, tf_madry
assert "keras" not in sys.modules and "tensorflow" not in sys.modules
import keras, numpy as np
known = np.load("known.npz")
for name in ("plain.keras", "compiled.keras"):
  model = keras.saving.load_model(name, safe_mode=True)
  assert model.input_shape == (None, 28, 28, 1)
  np.testing.assert_allclose(model(known["images"]), known["logits"], atol=1e-4)
import tf_madry.models
np.testing.assert_allclose(keras.saving.load_model("registered.keras", safe_mode=True)(known["images"]), known["logits"], atol=1e-4)
"""


def test_a_saved_model_loads_in_a_new_process(tmp_path):
  model = network.build(seed=3)
  images = np.random.default_rng(0).random((2, 28, 28, 1), np.float32)
  np.savez(tmp_path / "known.npz", images=images, logits=model(images))
  model.save(tmp_path / "plain.keras")
  keras.saving.save_model(model, tmp_path / "registered.keras")  # past the model, so as it is inside
  model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
  model.save(tmp_path / "compiled.keras")
  environment = os.environ | {"PYTHONPATH": str(processes.ROOT)}
  process = subprocess.run([sys.executable, "-c", LOADS], cwd=tmp_path, env=environment, text=True, check=False,
                           capture_output=True)
  assert process.returncode == 0, process.stderr


@pytest.mark.parametrize(("shape", "classes", "given"), [
    ((28, 28, 1), 10, {}), ((9, 7, 3), 4, {"image_data_format": "channels_first", "floatx": "float16"})])
def test_the_plain_form_is_the_same_function(shape, classes, given):
  model = network.build(shape, classes, initialization="he")
  images = np.random.default_rng(0).random((3, *shape), np.float32)
  with settings.keras_set(**given):
    twin = plain(model)
  np.testing.assert_allclose(twin(images), model(images), atol=1e-5)
  assert [variable.path for variable in twin.variables] == [variable.path for variable in model.variables]
  assert {type(layer).__module__.split(".")[0] for layer in twin.layers} == {"keras"}


@pytest.mark.parametrize("registered", [Adam(0.25, epsilon=1e-8), network.build().get_layer("conv2"), network.build()],
                         ids=lambda registered: type(registered).__name__)
def test_what_is_registered_with_keras_is_made_again(registered):
  again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(registered), safe_mode=True)
  assert type(again) is type(registered)
  assert again.get_config() == registered.get_config()
