"""Evaluating any model from Python: a Keras model, or a function from images to logits."""

from typing import Any

import numpy as np

from tf_madry import attacks, datasets
from tf_madry.attacks.base import Attack, Ensemble, Model
from tf_madry.config import Config
from tf_madry.errors import require
from tf_madry.evaluation import accuracy, suite
from tf_madry.models.loading import LoadedModel


def evaluate(model: Model, attack: str | Attack | Ensemble = "suite",
             images: np.ndarray | None = None, labels: np.ndarray | None = None, *,
             source: Model | None = None, batch_size: int = 200, seed: int = 0,
             folder: str | None = None,
             **settings: Any) -> tuple[accuracy.Result | suite.Result, np.ndarray]:
  """As `tf_madry.evaluate`."""
  if isinstance(attack, str):
    attack = attacks.make(attack, settings, {})
  else:
    require(not settings, "settings", ", ".join(settings), "none beside an attack that is made")
  split = _split(images, labels)
  loaded, source = (made and LoadedModel(made, None, Config(), "a model")
                    for made in (model, source))
  how = {"source": source, "batch_size": batch_size, "seed": seed}
  if hasattr(attack, "members"):
    return suite.run(loaded, attack, split, **how, folder=folder, say=lambda line: None)
  require(folder is None, "folder", folder, "none: a single attack keeps no record")
  adversarial = np.empty(split.images.shape, np.float32)
  return accuracy.run(loaded, attack, split, **how, adversarial=adversarial), adversarial


def _split(images, labels):
  if images is None:
    return datasets.load().test
  images = np.asarray(images)
  require(images.ndim == 4 and len(images), "shape of images", images.shape,
          "(n, height, width, channels), at least one")
  if images.dtype != np.uint8:
    scaled = np.round(images.astype(np.float64) * 255)
    whole = np.isfinite(images).all() and np.abs(images * 255 - scaled).max() < 0.01
    require(whole and scaled.min() >= 0 and scaled.max() <= 255, "images",
            f"{images.dtype} from {images.min():g} to {images.max():g}",
            "uint8, or numbers from 0 to 1 that are whole 255ths")
    images = scaled.astype(np.uint8)
  require(labels is not None and np.shape(labels) == images.shape[:1], "shape of labels",
          np.shape(labels), f"{images.shape[:1]}, a class for each image")
  return datasets.Split(images, np.asarray(labels, np.int32))
