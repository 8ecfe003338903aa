"""What users set for all of Keras and TensorFlow, and what the network is whatever they set.

It is float32, has its channels last and runs on TensorFlow. Nothing here changes a setting for
good: other models of the same process keep theirs.
"""

import contextlib
import os
import sys
from collections.abc import Iterator

from tf_madry.errors import UserError, require

# With any of these, oneDNN computes in bfloat16 what TensorFlow calls float32.
IMPRECISE = ("TF_SET_ONEDNN_FPMATH_MODE", "ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE")
EXACT = ("", "STRICT", "FP32")  # the values that ask for nothing
# TensorFlow's rewriting of graphs to a lower precision, by its names.
REWRITING = ("auto_mixed_precision", "auto_mixed_precision_mkl", "auto_mixed_precision_cpu",
             "auto_mixed_precision_onednn_bfloat16")


def settle_environment() -> None:
  """Sets what our own programs need of the environment, before Keras and TensorFlow look at it."""
  os.environ["KERAS_BACKEND"] = "tensorflow"
  os.environ["KERAS_HOME"] = os.path.join(os.devnull, "keras")  # no keras.json is read, or written
  for name in IMPRECISE:
    os.environ.pop(name, None)


def require_keras() -> None:
  """Imports Keras; `UserError` unless it runs on TensorFlow."""
  accepted = "tensorflow, by KERAS_BACKEND or keras.json before Keras is imported"
  try:
    import keras
  except Exception as error:  # a missing backend, or a keras.json that Keras itself refuses
    said = f"{type(error).__name__}: {error}".splitlines()[0]
    raise UserError(f"Keras cannot be imported ({said}); look at keras.json; its backend must be "
                    f"{accepted}") from error
  backend = keras.config.backend()
  require(backend == "tensorflow", "backend of Keras", backend, accepted)


def require_tensorflow(model: object) -> None:
  """`UserError` for a model of Keras that runs on something else."""
  keras = sys.modules.get("keras")
  if keras and isinstance(model, keras.Layer):
    require_keras()


@contextlib.contextmanager
def floatx() -> Iterator[None]:
  """Keras' floatx is float32 while the block lasts, for parts that have no argument for it."""
  import keras
  theirs = keras.config.floatx()
  keras.config.set_floatx("float32")
  try:
    yield
  finally:
    keras.config.set_floatx(theirs)


@contextlib.contextmanager
def float32() -> Iterator[None]:
  """Computes float32 as float32 while the block lasts, also as a decorator.

  TensorFloat-32, which GPUs use unless told otherwise, and rewriting to half precision are off.

  Raises:
    UserError: the environment asks for less than float32, which nobody can take back any more.
  """
  import tensorflow as tf
  for name in IMPRECISE:
    require(os.environ.get(name, "").upper() in EXACT, name, os.environ.get(name),
            "nothing: with it, float32 is computed in a lower precision")
  switch, optimizer = tf.config.experimental, tf.config.optimizer
  tensor_float = switch.tensor_float_32_execution_enabled()
  rewriting = {name: True for name in REWRITING if optimizer.get_experimental_options().get(name)}
  if tensor_float:
    switch.enable_tensor_float_32_execution(False)
  if rewriting:
    optimizer.set_experimental_options(dict.fromkeys(rewriting, False))
  try:
    yield
  finally:
    if tensor_float:
      switch.enable_tensor_float_32_execution(True)
    if rewriting:
      optimizer.set_experimental_options(rewriting)
