"""Global settings of Keras and TensorFlow, and homes of users who have some."""

import contextlib
import json
import os

import keras

# Wrong in every way; a floatx that Keras itself does not know ends its import.
HOSTILE = {"image_data_format": "channels_first", "floatx": "bfloat16", "backend": "torch", "epsilon": 1e-2}


@contextlib.contextmanager
def keras_set(*, policy=None, **values):
  """Keras' global settings by name, as `floatx`, and its dtype policy, while the block lasts."""
  policy = policy or values.get("floatx")  # which Keras takes while no policy was ever set
  before = {name: getattr(keras.config, name)() for name in values}
  before_policy = keras.config.dtype_policy()
  for name, value in values.items():
    getattr(keras.config, f"set_{name}")(value)
  if policy:
    keras.config.set_dtype_policy(policy)
  try:
    yield
  finally:
    for name, value in before.items():
      getattr(keras.config, f"set_{name}")(value)
    keras.config.set_dtype_policy(before_policy)


def home(folder, **values):
  """The environment of a user whose keras.json, in a home in `folder`, holds these values."""
  keras_folder = folder / ".keras"
  keras_folder.mkdir(parents=True)
  (keras_folder / "keras.json").write_text(json.dumps(values))
  return {name: value for name, value in os.environ.items() if name != "KERAS_HOME"} | {"HOME": str(folder)}
