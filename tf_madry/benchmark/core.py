"""One gradient and one training step, held against a textbook's code and against the machine's matrix products."""

import statistics

from tf_madry import cli
from tf_madry.benchmark.rounds import alternate, spread
from tf_madry.runtime import devices

# Multiplications of one example's forward pass: two convolutions, two dense layers. With each goes an addition.
LAYERS = (28 * 28 * 25 * 32, 14 * 14 * 25 * 32 * 64, 3136 * 1024, 1024 * 10)
# A layer's gradient by its input, as by its weights, is as much work as the layer.
GRADIENT_FLOP = 2 * (2 * sum(LAYERS))  # forward, and by all inputs
UPDATE_FLOP = 2 * (3 * sum(LAYERS) - LAYERS[0])  # forward, by all weights, and by all inputs but the images


def core(batch_sizes=(50, 128, 512), rounds=9, k=8):
  """One PGD gradient and one training step, against a textbook's code and against the machine's matrix products."""
  cli.load_tensorflow()
  floors = matrix_products(rounds)
  print(f"core: median (range) of {rounds} rounds in turn, compiling left out, {devices.cores()} cores; matrix products: "
        + ", ".join(f"{precision} {rate / 1e9:,.0f} GFLOP/s" for precision, rate in floors.items()))
  print("\n| batch | what | code | ms | speedup | of the matrix-product rate |\n|---|---|---|---|---|---|")
  for batch_size in batch_sizes:
    for what, k_timed, flop in (("PGD gradient", 1, GRADIENT_FLOP),
                                (f"training step, κ = {k}", k, k * GRADIENT_FLOP + UPDATE_FLOP)):
      calls = _core_calls(batch_size, what, k_timed)
      times = alternate(calls, rounds)
      for name, values in times.items():
        seconds = statistics.median(values)
        floor = batch_size * flop / floors[name.split()[-1]]
        print(f"| {batch_size} | {what} | {name} | {spread([1e3 * value for value in values], '.1f')} | "
              f"{statistics.median(times['textbook float32']) / seconds:.2f} | {floor / seconds:.0%} |", flush=True)


def matrix_products(rounds, size=2048):
  """{precision: FLOP/s} of products of square matrices, as TensorFlow does them here."""
  import tensorflow as tf
  product = tf.function(tf.matmul)
  matrices = {precision: tf.ones((size, size), precision) for precision in ("float32", "bfloat16")}
  times = alternate({precision: lambda matrix=matrix: product(matrix, matrix)[0, 0].numpy()
                     for precision, matrix in matrices.items()}, rounds)
  return {precision: 2 * size**3 / statistics.median(values) for precision, values in times.items()}


def _core_calls(batch_size, what, k):
  import tensorflow as tf

  from tf_madry import config, datasets
  from tf_madry.attacks import PGD
  from tf_madry.benchmark import textbook
  from tf_madry.models import network
  from tf_madry.training.learner import Learner
  from tf_madry.training.step import AdversarialStep
  dataset = datasets.load()
  images, labels = datasets.as_float(tf.constant(dataset.train.images[:batch_size])), dataset.train.labels[:batch_size]
  model = textbook.build()
  attack = textbook.attack_of(model)
  if what == "PGD gradient":
    calls = {"textbook float32": lambda: attack(images, labels, tf.constant(k)).numpy()}
    for precision in ("float32", "bfloat16"):
      ours = network.build(dtype=precision)
      calls[f"tf_madry {precision}"] = lambda ours=ours: PGD(k=k)(ours, images, labels).numpy()
    return calls
  step = textbook.step_of(model, attack)
  calls = {"textbook float32": lambda: step(images, labels, tf.constant(k)).numpy()}
  indices = tf.range(batch_size)
  for precision in ("float32", "bfloat16"):
    settings = config.resolve({"k": k, "batch_size": batch_size, "precision": precision})[0]
    ours = AdversarialStep(Learner(settings, dataset))
    calls[f"tf_madry {precision}"] = lambda ours=ours: float(ours.run(indices, tf.constant(0)).loss)
  return calls
