"""Trained models from where they are kept: model directories, checkpoints, others' files."""

import os
from typing import NamedTuple

import keras

from tf_madry import checkpoints, models
from tf_madry.config import Config, resolve
from tf_madry.errors import UserError, require
from tf_madry.models import directory, network, pretrained, tf1


class LoadedModel(NamedTuple):
  """A Keras `model` with the `step`, the `config` and the `path` it comes from."""

  model: keras.Model
  step: int
  config: Config
  path: str

  @property
  def home(self) -> str:
    """The directory for what belongs to it, such as records; of what is shipped, one of its own."""
    name = pretrained.find(self.path)
    return os.path.join("models", f"pretrained-{name}") if name else checkpoints.home(self.path)


def load_model(path: str) -> LoadedModel:
  """Rebuilds the trained model of a model directory, or of one checkpoint, ours or the challenge's.

  Raises:
    UserError: there is no whole checkpoint, its weights do not fit the network, or a directory
      holds those of two runs (see `directory.py`).
  """
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
