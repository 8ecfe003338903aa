"""Trained models from where they are kept: model directories, checkpoints, others' files."""

import dataclasses
import os
from typing import NamedTuple

import keras

from tf_madry import checkpoints, datasets, models
from tf_madry.config import Config, resolve
from tf_madry.errors import UserError, require
from tf_madry.models import directory, foreign, network, pretrained, tf1


class LoadedModel(NamedTuple):
  """A `model` with the `step` (None: not known), the `config` and the `path` it comes from."""

  model: keras.Model | foreign.Foreign
  step: int | None
  config: Config
  path: str

  @property
  def home(self) -> str:
    """The directory for what belongs to it, such as records; of what is shipped, one of its own."""
    name = pretrained.find(self.path)
    return os.path.join("models", f"pretrained-{name}") if name else checkpoints.home(self.path)


def load_model(path: str, dataset: str | None = None) -> LoadedModel:
  """Rebuilds the trained model of a model directory, or of one checkpoint, ours or the challenge's.

  Args:
    path: of these, or of anybody's Keras file or SavedModel.
    dataset: the data set that it is to classify; None: that of its training, for a model of others
      mnist.

  Raises:
    UserError: there is no whole checkpoint, its weights do not fit the network, a directory holds
      those of two runs (see `directory.py`), a file is not safe to load, or the model takes other
      images.
  """
  if foreign.is_foreign(path):
    config, _ = resolve({"model_dir": checkpoints.home(path), "dataset": dataset or "mnist"})
    images = datasets.load(config.training.dataset).image_shape
    return LoadedModel(foreign.load(path, images), None, config, path)
  loaded = _load_own(path)
  if dataset is None:
    return loaded
  training = dataclasses.replace(loaded.config.training, dataset=dataset)
  shape, own = datasets.load(dataset).image_shape, tuple(loaded.model.input_shape[1:])
  require(shape == own, f"image shape of {dataset}", shape, f"{own}, as of {loaded.path!r}")
  return loaded._replace(config=dataclasses.replace(loaded.config, training=training))


def _load_own(path):
  if name := pretrained.find(path):
    return model_of(pretrained.read(name))
  directory.require_one(path)
  challenge = None if checkpoints.list_paths(path) else tf1.find_checkpoint(path)
  if challenge:
    return _load_challenge_model(challenge)
  if os.path.isdir(path):
    checkpoint = checkpoints.read_newest(path)
    require(checkpoint, "model directory", path,
            "a directory with a checkpoint in it, as train.py or the challenge's code writes it")
  else:
    require(os.path.exists(path), "model", path,
            "a model directory, a checkpoint file, or the prefix of a TF1 checkpoint")
    try:
      checkpoint = checkpoints.read(path)
    except checkpoints.DamagedError as error:
      raise UserError(f"checkpoint {path!r} is damaged: {error}") from error
  return model_of(checkpoint)


def model_of(checkpoint: checkpoints.Checkpoint) -> LoadedModel:
  """The `LoadedModel` of a `Checkpoint`."""
  config = Config.from_values(checkpoint.values)
  image_shape, num_classes = checkpoint.arrays["image_shape"], checkpoint.arrays["num_classes"]
  model = models.build(config.training.network, tuple(int(size) for size in image_shape),
                       int(num_classes))
  checkpoints.restore(checkpoints.variables_of(model, "model"), checkpoint)
  return LoadedModel(model, checkpoint.step, config, checkpoint.path)


def _load_challenge_model(prefix):
  """The `LoadedModel` of a TF1 checkpoint, whose settings are taken to be the challenge's."""
  weights, step = tf1.read_checkpoint(prefix)
  model = network.build()
  for variable in model.variables:
    variable.assign(weights[variable.path])
  config, _ = resolve({"model_dir": checkpoints.home(prefix)}, "challenge")
  return LoadedModel(model, step, config, prefix)
