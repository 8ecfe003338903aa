"""Accuracy and loss of a model, natural and under one attack, which is made on every example."""

import dataclasses
import time
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from tf_madry import datasets
from tf_madry.attacks.base import Attack, Model
from tf_madry.attacks.losses import score
from tf_madry.evaluation.intervals import wilson
from tf_madry.evaluation.progress import Progress
from tf_madry.evaluation.verify import allowed
from tf_madry.models.loading import LoadedModel
from tf_madry.runtime import seeds
from tf_madry.runtime.text import duration, percent_interval


@dataclasses.dataclass(frozen=True)
class Result:
  """What was measured on n examples. Accuracies are in [0, 1], losses mean cross-entropies,
  intervals 95 % (Wilson).

  An example counts as right under attack only if the model is right on the natural image too: that
  image lies in the ball, so an attack that makes the model right by accident has not shown it to be
  robust. Of an attack that leaves the ball or the pixel range, or returns what is not finite, the
  natural image counts.
  """

  attack: str
  n: int
  natural_accuracy: float
  natural_interval: tuple[float, float]
  natural_loss: float
  adversarial_accuracy: float
  adversarial_interval: tuple[float, float]
  adversarial_loss: float
  seconds: float


def evaluate(model: Model, attack: Attack, split: datasets.Split, *, source: Model | None = None,
             batch_size: int = 200,
             seed: int = 0, on_batch: Callable[[int, float, float], None] | None = None,
             adversarial: np.ndarray | None = None, right: np.ndarray | None = None) -> Result:
  """Runs an attack on every example of a split and counts what stands.

  Args:
    model: maps float32 images to logits.
    attack: the attack; an ensemble is run by `suite.run`.
    split: the examples.
    source: the model to attack, when it is not the one that is measured (black-box, transfer).
    batch_size: examples at a time; the challenge's is 200. The random starts depend on it.
    seed: of the attack.
    on_batch: called with (examples done, natural accuracy so far, adversarial accuracy so far).
    adversarial: float32 array [n, height, width, channels] to fill with the images that were
      counted: the attack's, or the natural one where only that is wrong or allowed.
    right: bool array [n] to fill with whether each example counted as right under attack.
  """
  began = time.monotonic()
  natural_right, adversarial_right, natural_loss, adversarial_loss = [], [], [], []
  for start in range(0, len(split), batch_size):
    images = tf.constant(datasets.as_float(split.images[start:start + batch_size]))
    labels = tf.constant(split.labels[start:start + batch_size])
    attacked = attack(source or model, images, labels, seed=seeds.key(seed, start, "evaluation"))
    inside = allowed(images.numpy(), attacked.numpy(), attack.epsilon)
    attacked = tf.where(inside[:, np.newaxis, np.newaxis, np.newaxis], attacked, images)
    natural, loss = score(model, images, labels)
    right_under_attack, loss_under_attack = score(model, attacked, labels)
    natural_right.append(natural.numpy())
    natural_loss.append(loss.numpy())
    adversarial_right.append(natural.numpy() & right_under_attack.numpy())
    adversarial_loss.append(loss_under_attack.numpy())
    if adversarial is not None:
      by_accident = (~natural & right_under_attack).numpy()[:, np.newaxis, np.newaxis, np.newaxis]
      adversarial[start:start + len(labels)] = np.where(by_accident, images, attacked)
    if right is not None:
      right[start:start + len(labels)] = adversarial_right[-1]
    if on_batch:
      on_batch(start + len(labels), _mean(natural_right), _mean(adversarial_right))
  n, natural, attacked = len(split), _mean(natural_right), _mean(adversarial_right)
  return Result(repr(attack), n, natural, wilson(natural, n), _mean(natural_loss), attacked,
                wilson(attacked, n), _mean(adversarial_loss), time.monotonic() - began)


def run(loaded: LoadedModel, attack: Attack, split: datasets.Split, *,
        source: LoadedModel | None = None,
        batch_size: int, seed: int, adversarial: np.ndarray | None = None) -> Result:
  """As `evaluate`, of loaded models, and tells how far it is."""
  with Progress(len(split)) as progress:
    def show(done, natural, attacked):
      progress.show(done, nat=natural, adv=attacked)
    return evaluate(loaded.model, attack, split, source=source and source.model,
                    batch_size=batch_size, seed=seed, on_batch=show, adversarial=adversarial)


def lines(result: Result, title: str) -> Iterator[str]:
  """A `Result` as lines of text, the first of which begins with what was evaluated."""
  def accuracy(value, interval):
    return f"{value:7.2%}  (95 % interval {percent_interval(interval)})"
  yield f"{title}; {duration(result.seconds)}, compiling included"
  yield f"attack: {result.attack}"
  yield (f"natural:      {accuracy(result.natural_accuracy, result.natural_interval)}  "
         f"loss {result.natural_loss:.4f}")
  yield (f"adversarial:  {accuracy(result.adversarial_accuracy, result.adversarial_interval)}  "
         f"loss {result.adversarial_loss:.4f}")


def _mean(parts):
  return float(np.concatenate(parts).mean(dtype=np.float64))
