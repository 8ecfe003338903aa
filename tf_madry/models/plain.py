"""A network of Keras' own layers alone, so that who has Keras can load it and nothing else."""

import os
import tempfile

import keras

from tf_madry.models.layers import PooledConvolution
from tf_madry.runtime import files


def plain(model: keras.Model) -> keras.Model:
  """The same function, weights and names as a network whose layers follow one another."""
  images = x = keras.Input(model.input_shape[1:], name=model.layers[0].name, dtype="float32")
  for layer in model.layers[1:]:
    if isinstance(layer, PooledConvolution):
      here = {"padding": "same", "data_format": "channels_last", "dtype": layer.dtype_policy}
      x = keras.layers.Conv2D(layer.filters, 5, activation="relu", name=layer.name, **here)(x)
      x = keras.layers.MaxPooling2D(2, **here)(x)
    else:
      x = type(layer).from_config(layer.get_config())(x)
  twin = keras.Model(images, x, name=model.name)
  for ours, theirs in zip(twin.variables, model.variables, strict=True):
    ours.assign(theirs)
  if model.compiled:
    twin.compile_from_config(model.get_compile_config())
  return twin


def write(path: str, model: keras.Model) -> None:
  """Writes the plain form as a .keras file, whole or not at all; `UserError` if that cannot be."""
  with tempfile.TemporaryDirectory() as folder, files.output("export", path) as file:
    whole = os.path.join(folder, "model.keras")
    plain(model).save(whole)
    with open(whole, "rb") as written:
      file.write(written.read())


@keras.saving.register_keras_serializable("tf_madry")
class Network(keras.Model):
  """A Keras model that is saved in its `plain` form."""

  def save(self, *args: object, **kwargs: object) -> None:
    """As `keras.Model.save`."""
    plain(self).save(*args, **kwargs)
