"""Pictures of an attack: images, perturbations, what the model says; accuracy against ε."""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tf_madry import datasets
from tf_madry.attacks.base import Model
from tf_madry.attacks.losses import margin
from tf_madry.evaluation import curve
from tf_madry.runtime import files
from tf_madry.runtime.graphs import float32_logits

EACH = 4  # of the easiest and of the hardest examples


def choose(model: Model, split: datasets.Split, adversarial: np.ndarray,
           batch_size: int = 200) -> tuple[np.ndarray, np.ndarray]:
  """(easiest, hardest): numbers of the examples, by the label's lead under attack.

  Of those that the model gets right without an attack.
  """
  natural = _margins(model, datasets.as_float(split.images), split.labels, batch_size)
  attacked = _margins(model, adversarial, split.labels, batch_size)
  order = np.argsort(attacked, kind="stable")
  order = order[natural[order] > 0]
  easiest = order[:EACH]
  return easiest, order[len(easiest):][-EACH:][::-1]


class Strips(NamedTuple):
  """Attacked examples as TensorBoard shows them, the easiest first.

  Attributes:
    images: float32 [n, height, 3 · width, channels]: of each example the image, its perturbation
      (grey where there is none) and the adversarial image, side by side.
    text: what the model says of them, as a table in Markdown.
  """

  images: np.ndarray
  text: str


def strips(model: Model, split: datasets.Split, adversarial: np.ndarray) -> Strips:
  """`Strips` of the easiest and hardest examples; arguments as for `draw_attack`."""
  easiest, hardest = choose(model, split, adversarial)
  numbers = np.concatenate([easiest, hardest])
  natural, attacked = datasets.as_float(split.images[numbers]), adversarial[numbers]
  shown, largest = _perturbation(natural, attacked)
  said = zip(split.labels[numbers], _says(model, natural), _says(model, attacked), strict=True)
  rows = [f"| {label} | {before} | {after} |" for label, before, after in said]
  title = f"perturbations up to {largest:.2g}, {len(easiest)} easiest and {len(hardest)} hardest"
  header = f"{title}\n\n| label | natural | adversarial |\n|---|---|---|"
  return Strips(np.concatenate([natural, shown, attacked], 2), "\n".join([header, *rows]))


def _perturbation(natural, adversarial):
  """(perturbations as images that are grey where there is none, the largest of them)."""
  change = adversarial - natural
  largest = max(float(np.abs(change).max(initial=0.0)), 1e-6)
  return 0.5 + change / (2 * largest), largest


def draw_attack(path: str, model: Model, split: datasets.Split, adversarial: np.ndarray,
                title: str) -> None:
  """Draws natural images, perturbations and adversarial images of the easiest and hardest examples.

  Args:
    path: of the .png file.
    model: maps images to logits.
    split: the examples.
    adversarial: float32, as the split's images; the image itself where nothing was found.
    title: what was attacked, and how.

  Raises:
    UserError: the file cannot be written.
  """
  easiest, hardest = choose(model, split, adversarial)
  numbers = np.concatenate([easiest, hardest])
  natural = datasets.as_float(split.images[numbers])
  shown, largest = _perturbation(natural, adversarial[numbers])
  figure, axes = _figure(3, max(len(numbers), 1), title)
  rows = (natural, shown, adversarial[numbers])
  texts = (_says(model, natural), len(numbers) * [f"± {largest:.2g}"], _says(model, rows[2]))
  for column, number in enumerate(numbers):
    for row in range(3):
      axes[row][column].imshow(rows[row][column].squeeze(), cmap="gray", vmin=0, vmax=1)
      axes[row][column].set_title(texts[row][column], fontsize=8)
    kind = "easy" if column < len(easiest) else "hard"
    label = f"{kind}: example {number}, label {split.labels[number]}"
    axes[2][column].set_xlabel(label, fontsize=7)
  _save(path, figure)


def draw_curve(path: str, result: curve.Result, title: str) -> None:
  """Draws accuracy against ε, with its intervals; errors as `draw_attack`."""
  figure, axes = _figure(1, 1, title, size=(6, 4))
  axis = axes[0][0]
  epsilons = [point["epsilon"] for point in result.points]
  accuracies = np.array([point["adversarial_accuracy"] for point in result.points])
  low, high = np.transpose([point["adversarial_interval"] for point in result.points])
  axis.errorbar(epsilons, accuracies, [accuracies - low, high - accuracies], marker="o", capsize=3)
  axis.set(xlabel="ε", ylabel=f"accuracy under attack (n = {result.n:,})", ylim=(-0.02, 1.02))
  axis.set_xticks(epsilons)
  axis.grid(alpha=0.3)
  _save(path, figure)


def _margins(model, images, labels, batch_size):
  return np.concatenate([
      margin(float32_logits(model, tf.constant(images[start:start + batch_size])),
             tf.constant(labels[start:start + batch_size])).numpy()
      for start in range(0, len(images), batch_size)])


def _says(model, images):
  """What a model takes images for, in words."""
  if not len(images):  # a model that is wrong about all has none to show
    return []
  probabilities = tf.nn.softmax(float32_logits(model, tf.constant(images))).numpy()
  return [f"{each.argmax()} ({each.max():.0%})" for each in probabilities]


def _figure(rows: int, columns: int, title: str, size: tuple[float, float] | None = None) -> Any:
  from matplotlib.figure import Figure  # takes a second, and few evaluations draw
  figure = Figure(figsize=size or (1.5 * columns + 0.5, 1.7 * rows + 0.6), layout="constrained")
  figure.suptitle(title, fontsize=8)
  axes = figure.subplots(rows, columns, squeeze=False)
  if size is None:
    for axis in axes.flat:
      axis.set(xticks=[], yticks=[])
  return figure, axes


def _save(path, figure):
  with files.output("plot", path) as file:
    figure.savefig(file, format="png", dpi=150)
