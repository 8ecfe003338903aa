"""Anybody's Keras model: a `.keras` or `.h5` file, or a folder with a SavedModel.

Nothing in a Keras file is executed that Keras itself would refuse (`safe_mode`). A SavedModel is a
graph of TensorFlow; one that reads or writes files, or calls Python, is refused here.
"""

import hashlib
import os
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from tf_madry.errors import UserError, require

KERAS_FILES = (".keras", ".h5", ".hdf5")
SAVED_MODEL = "saved_model.pb"
# What no classifier needs, and a file from anywhere must not do.
REFUSED_OPS = {"ReadFile", "WriteFile", "SaveV2", "RestoreV2", "MatchingFiles", "PyFunc",
               "PyFuncStateless", "EagerPyFunc", "PrintV2", "TextLineReaderV2"}
SAMPLE = 16  # images that a model is tried on
TINY = 1e-30  # of a probability, before its logarithm


class Foreign:
  """A model of others, as one from float32 images in [0, 1] to float32 logits.

  Args:
    predict: what was loaded: a call from its own images to its own outputs.
    image_shape: (height, width, channels) of the images that it is to take.
    shape: of its own images, None where it takes any size.
    dtype: of its own images; of integers, they are the bytes 0 to 255.
    variables: its weights.
    fingerprint: a short name for its file.
    network: what is called, where it is a network of Keras' layers.

  Attributes:
    notes: what was made of the model, for people.
    input_shape, output_shape: as of a Keras model.
    variables, fingerprint, network: as given.

  Raises:
    UserError: it takes other images, or returns no logits of classes.
  """

  def __init__(self, predict: Callable[[tf.Tensor], tf.Tensor], image_shape: tuple[int, int, int],
               shape: Sequence[int | None], dtype: tf.DType, variables: Sequence[tf.Variable],
               fingerprint: str, notes: Sequence[str] = (), network: keras.Model | None = None):
    self._predict, self._dtype, self.network = predict, dtype, network
    self._arrange = _arrangement(image_shape, tuple(shape))
    self.variables, self.fingerprint, self.notes = tuple(variables), fingerprint, list(notes)
    self.input_shape = (None, *image_shape)
    self._inverted = False
    outputs = self(tf.constant(np.random.default_rng(0).random((SAMPLE, *image_shape), np.float32)))
    require(outputs.shape.rank == 2 and outputs.shape[-1] >= 2, "output shape of the model",
            tuple(outputs.shape[1:]), "(classes,), a number for each of at least two classes")
    require(np.isfinite(outputs).all(), "an output of the model", "not finite", "finite logits")
    self.output_shape = (None, outputs.shape[-1])
    self._inverted = _probabilities(outputs.numpy())
    if self._inverted:
      self.notes.append("outputs are probabilities: their logarithms are taken for logits; where "
                        "they are rounded to 0 or 1, gradients are hidden")

  def __call__(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
    """From float32 [batch, height, width, channels] to float32 logits [batch, classes]."""
    outputs = tf.cast(self._predict(self.own(images)), tf.float32)
    return tf.math.log(outputs + TINY) if self._inverted else outputs

  def own(self, images: tf.Tensor) -> tf.Tensor:
    """Images as the model takes them; where a pixel is greater, so is the model's."""
    images = self._arrange(images)
    if self._dtype.is_integer:
      images = tf.round(images * 255.0)
    return tf.cast(images, self._dtype)


def is_foreign(path: str) -> bool:
  """Whether a path is that of a Keras file or a SavedModel."""
  named = os.fspath(path).lower().endswith(KERAS_FILES)
  return named or os.path.isfile(os.path.join(path, SAVED_MODEL))


def load(path: str, image_shape: tuple[int, int, int]) -> Foreign:
  """Loads a model to be called on images of that shape.

  Raises:
    UserError: it cannot be loaded safely, or is no classifier of such images.
  """
  require(os.path.exists(path), "model", path, "a file or folder that is there")
  if os.path.isdir(path):
    return _load_saved_model(path, image_shape)
  try:
    model = keras.saving.load_model(path, compile=False, safe_mode=True)
  except Exception as error:  # whatever a layer's own code, or an altered file, may raise
    said = (str(error) or type(error).__name__).split(". ")[0].splitlines()[0]
    raise UserError(f"model {path!r} cannot be loaded: {said}") from error
  require(len(model.inputs or ()) == 1 == len(model.outputs or ()), f"model {path!r}",
          f"one with {len(model.inputs or ())} inputs and {len(model.outputs or ())} outputs",
          "one with images as input and logits as output")
  model, notes = _without_softmax(model)
  images = model.inputs[0]
  return Foreign(lambda x: model(x, training=False), image_shape, images.shape[1:],
                 tf.as_dtype(images.dtype), model.variables, _fingerprint([path]), notes, model)


def _load_saved_model(path, image_shape):
  try:
    loaded = tf.saved_model.load(path)
    function = loaded.signatures["serving_default"]
  except Exception as error:
    said = (str(error) or type(error).__name__).splitlines()[0]
    raise UserError(f"model {path!r} cannot be loaded: {said}") from error
  found = _ops(function.graph.as_graph_def()) & REFUSED_OPS
  require(not found, f"model {path!r}", f"one that runs {', '.join(sorted(found))}",
          "a SavedModel that only computes")
  (_, inputs), outputs = function.structured_input_signature, function.structured_outputs
  require(len(inputs) == 1 == len(outputs), f"model {path!r}",
          f"one with {len(inputs)} inputs and {len(outputs)} outputs",
          "one with images as input and logits as output")
  (name, images), (output,) = *inputs.items(), outputs
  files = [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]
  model = Foreign(lambda x: function(**{name: x})[output], image_shape, images.shape[1:],
                  images.dtype, loaded.variables if hasattr(loaded, "variables") else
                  function.variables, _fingerprint(sorted(files)))
  model.owner = loaded  # whose variables live as long as it does
  return model


def _ops(graph):
  functions = [node.op for function in graph.library.function for node in function.node_def]
  return {node.op for node in graph.node} | set(functions)


def _arrangement(image_shape, shape):
  """How images are arranged for a model that takes that shape."""
  height, width, channels = image_shape

  def fits(*sizes):
    return len(shape) == len(sizes) and all(own in (None, size)
                                            for own, size in zip(shape, sizes, strict=True))
  if fits(height, width, channels):
    return lambda images: images
  if fits(height * width * channels):
    return lambda images: tf.reshape(images, [-1, height * width * channels])
  if channels == 1 and fits(height, width):
    return lambda images: images[..., 0]
  if fits(channels, height, width):
    return lambda images: tf.transpose(images, [0, 3, 1, 2])
  flat = height * width * channels
  raise UserError(f"input shape of the model is {shape}, accepted: {image_shape}, ({flat},), or "
                  "the channels first")


def _without_softmax(model):
  """The model up to its softmax, if it ends with one, and a note of that."""
  last, note = model.layers[-1], ["its softmax was taken off: attacks see logits"]
  softmax = keras.activations.softmax
  if isinstance(last, keras.layers.Softmax):
    return keras.Model(model.inputs, last.input), note
  if getattr(last, "activation", None) is softmax:
    if isinstance(last, keras.layers.Activation):
      return keras.Model(model.inputs, last.input), note
    last.activation = keras.activations.linear
    return model, note
  return model, []


def _probabilities(outputs):
  return bool(((outputs >= 0) & (outputs <= 1)).all()
              and np.allclose(outputs.sum(-1), 1, atol=1e-2))


def _fingerprint(paths):
  hashed = hashlib.sha256()
  for path in paths:
    with open(path, "rb") as file:
      hashed.update(file.read())
  return hashed.hexdigest()[:16]
