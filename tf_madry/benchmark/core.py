"""One gradient and one training step, against a textbook's, PyTorch's and matrix products.

What is compiled is built and compiled anew several times: how TensorFlow rewrites a graph can be
left to chance, and an instance that was unlucky stays slow for as long as it lives. A median over
the calls of one instance would hide that.
"""

import gc
import importlib.util
import os
import statistics
from collections.abc import Callable, Iterable

from tf_madry import cli
from tf_madry.benchmark.rounds import alternate, spread
from tf_madry.runtime import devices

PRECISIONS = ("float32", "bfloat16")
TEXTBOOK = "textbook float32"

# Multiplications of one example's forward pass: two convolutions, two dense layers. With each goes
# an addition.
LAYERS = (28 * 28 * 25 * 32, 14 * 14 * 25 * 32 * 64, 3136 * 1024, 1024 * 10)
# A layer's gradient by its input, as by its weights, is as much work as the layer.
GRADIENT_FLOP = 2 * (2 * sum(LAYERS))  # forward, and by all inputs
# Forward, by all weights, and by all inputs but the images.
UPDATE_FLOP = 2 * (3 * sum(LAYERS) - LAYERS[0])

Calls = dict[str, Callable[[], object]]  # by whose code and which precision


def core(batch_sizes: Iterable[int] = (128,), instances: int = 5, rounds: int = 7,
         k: int = 8) -> None:
  """One PGD gradient and one training step, against others' and the machine's matrix products.

  Args:
    batch_sizes: images a step.
    instances: how often each is built and compiled.
    rounds: how often each instance is timed.
    k: PGD steps of the training step.
  """
  cli.load_tensorflow()
  import tensorflow as tf
  rates = matrix_products(rounds)
  print(f"core: {devices.description()}, {os.getloadavg()[0]:.1f} processes at work in the last "
        f"minute; TensorFlow {tf.__version__}{_torch_version()}")
  print(f"median (range) of {instances} instances, each built and compiled anew, of each the "
        f"median of {rounds} calls in turn with the others', compiling left out; a speedup is over "
        "the textbook's fastest instance; matrix products: "
        + ", ".join(f"{precision} {rate / 1e9:,.0f} GFLOP/s" for precision, rate in rates.items()))
  print("\n| batch | what | code | ms | slowest / fastest | speedup | of the matrix-product rate |"
        "\n|---|---|---|---|---|---|---|")
  for batch_size in batch_sizes:
    for what, flop, build in (
        ("PGD gradient", GRADIENT_FLOP, lambda size: gradients(size)),
        (f"training step, κ = {k}", k * GRADIENT_FLOP + UPDATE_FLOP,
         lambda size: training_steps(size, k))):
      times = instances_of(lambda size=batch_size, build=build: build(size), instances, rounds)
      textbook = min(times[TEXTBOOK])
      for name, values in times.items():
        seconds = textbook if name == TEXTBOOK else statistics.median(values)
        floor = batch_size * flop / rates[name.split()[-1]]
        milliseconds = spread([1e3 * value for value in values], ".1f")
        print(f"| {batch_size} | {what} | {name} | {milliseconds} | "
              f"{max(values) / min(values):.2f} | {textbook / seconds:.2f} | "
              f"{floor / seconds:.0%} |", flush=True)


def instances_of(build: Callable[[], Calls], instances: int, rounds: int) -> dict[str, list[float]]:
  """{name: seconds of each instance} of what `build` makes."""
  import keras
  times = {}
  for _ in range(instances):
    calls = build()
    for name, values in alternate(calls, rounds).items():
      times.setdefault(name, []).append(statistics.median(values))
    del calls
    keras.backend.clear_session()
    gc.collect()
  return times


def matrix_products(rounds: int, size: int = 2048) -> dict[str, float]:
  """FLOP/s of products of square matrices, as TensorFlow does them here, by precision."""
  import tensorflow as tf
  product = tf.function(tf.matmul)
  matrices = {precision: tf.ones((size, size), precision) for precision in PRECISIONS}
  times = alternate({precision: lambda matrix=matrix: product(matrix, matrix)[0, 0].numpy()
                     for precision, matrix in matrices.items()}, rounds)
  return {precision: 2 * size**3 / statistics.median(values) for precision, values in times.items()}


def _examples(batch_size):
  """(dataset, float32 images, labels): the first of the training set."""
  import tensorflow as tf

  from tf_madry import datasets
  dataset = datasets.load()
  images = datasets.as_float(tf.constant(dataset.train.images[:batch_size]))
  return dataset, images, dataset.train.labels[:batch_size]


def gradients(batch_size: int) -> Calls:
  """PGD with κ = 1, newly built: the textbook's, ours, and PyTorch's where it is installed."""
  import tensorflow as tf

  from tf_madry.attacks import PGD
  from tf_madry.benchmark import textbook
  from tf_madry.models import network
  _, images, labels = _examples(batch_size)
  attack = textbook.attack_of(textbook.build())
  calls = {TEXTBOOK: lambda: attack(images, labels, tf.constant(1)).numpy()}
  for precision in PRECISIONS:
    ours = network.build(dtype=precision)
    calls[f"tf_madry {precision}"] = lambda ours=ours: PGD(k=1)(ours, images, labels).numpy()
  if importlib.util.find_spec("torch"):
    from tf_madry.benchmark import torch_textbook
    for precision in PRECISIONS:
      calls[f"PyTorch {precision}"] = torch_textbook.attack_of(
          torch_textbook.build(precision), images.numpy(), labels, threads=devices.cores())
  return calls


def training_steps(batch_size: int, k: int) -> Calls:
  """A step of adversarial training, newly built: the textbook's, and ours in both precisions."""
  import tensorflow as tf

  from tf_madry import config
  from tf_madry.benchmark import textbook
  from tf_madry.training.learner import Learner
  from tf_madry.training.step import AdversarialStep
  dataset, images, labels = _examples(batch_size)
  model = textbook.build()
  step = textbook.step_of(model, textbook.attack_of(model))
  calls = {TEXTBOOK: lambda: step(images, labels, tf.constant(k)).numpy()}
  indices = tf.range(batch_size)
  for precision in PRECISIONS:
    settings, _ = config.resolve({"k": k, "batch_size": batch_size, "precision": precision})
    ours = AdversarialStep(Learner(settings, dataset))
    calls[f"tf_madry {precision}"] = lambda ours=ours: float(ours.run(indices, tf.constant(0)).loss)
  return calls


def _torch_version():
  if not importlib.util.find_spec("torch"):
    return ""
  import torch
  return f", PyTorch {torch.__version__}"
