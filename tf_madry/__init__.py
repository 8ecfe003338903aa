"""Efficient adversarial training in TensorFlow 2, after Bhat, Tsipras and Mądry (2018)."""

from collections.abc import Callable
from typing import Any

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


def evaluate(model: Callable, attack: Any = "suite", images: Any = None, labels: Any = None,
             **how: Any) -> tuple[Any, Any]:
  """How robust a model is: any function from images to logits, such as a Keras model.

      result, adversarial = tf_madry.evaluate(model, "suite", x_test, y_test, epsilon=0.1)
      print(f"{result.adversarial_accuracy:.2%}")

  Foolbox wants a model wrapped with its bounds (`TensorFlowModel(model, bounds=(0, 1))`), then an
  attack's call with images, labels and ε; ART an estimator with loss, shape and number of classes.

  Args:
    model: maps float32 [batch, height, width, channels] in [0, 1] to logits [batch, classes].
    attack: a name, as of `eval.py --attack`, or an attack that was made.
    images: [n, height, width, channels], uint8 or whole 255ths from 0 to 1; None: MNIST's test set.
    labels: classes, integers [n].
    **how: `source` (another model to craft on), `batch_size` (200), `seed` (0), `folder` (where an
      ensemble keeps a record to go on from), and settings of a named attack, such as `epsilon`.

  Returns:
    (`evaluation.suite.Result`, or `evaluation.accuracy.Result` of a single attack; float32 images,
    adversarial where one was found).

  Raises:
    UserError: an argument cannot be used.
  """
  from tf_madry.evaluation import callables
  return callables.evaluate(model, attack, images, labels, **how)
