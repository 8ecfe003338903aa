"""Efficient adversarial training in TensorFlow 2, after Bhat, Tsipras and Mądry (2018)."""

__version__ = "0.1.0"


def load_model(model_dir: str) -> "keras.Model":  # noqa: F821 (imported by those who ask for a model)
  """Returns the trained Keras model of a model directory, from its newest whole checkpoint.

  The model maps float32 images in [0, 1], shape [batch, height, width, channels], to logits, and is
  an ordinary `keras.Model`, which other libraries can wrap: Foolbox as `TensorFlowModel(model,
  bounds=(0, 1))`, for example.

  Args:
    model_dir: a directory that `train.py` wrote, or a network that is shipped: "pretrained/paper".

  Raises:
    UserError: there is no such directory, or no whole checkpoint in it.
  """
  # TensorFlow takes seconds to import: only those who ask for a model pay for it.
  from tf_madry.models import loading
  return loading.load_model(model_dir).model
