"""Evaluating what is on disk: a model directory or a checkpoint, once, or each new checkpoint as it appears."""

import json
import os
import sys
import time

import tensorflow as tf
from tqdm import tqdm

from tf_madry import checkpoints, datasets
from tf_madry import config as configs
from tf_madry.errors import UserError, require
from tf_madry.evaluation import measure
from tf_madry.models import network
from tf_madry.runtime import files
from tf_madry.runtime.text import duration, percent_interval

POLL_SECONDS = 2.0
SPLITS = ("test", "validation", "train")


def evaluate(loaded, attack, split, *, source=None, batch_size, seed, adversarial=None):
  """Measures a loaded model under an attack, with a progress bar in a terminal.

  Args:
    loaded: `checkpoints.LoadedModel`.
    attack: see `tf_madry.attacks`.
    split: `datasets.Split`.
    source: the `LoadedModel` to craft on, when it is another one (black-box).
    batch_size: examples at a time.
    seed: of the attack.
    adversarial: as for `measure.measure`.

  Returns:
    `measure.Result`.
  """
  with progress_bar(len(split)) as bar:
    def show(done, natural, attacked):
      bar.set_postfix(nat=f"{natural:.2%}", adv=f"{attacked:.2%}")
      bar.update(done - bar.n)
    return measure.measure(loaded.model, attack, split, source=source and source.model, batch_size=batch_size,
                           seed=seed, on_batch=show, adversarial=adversarial)


def progress_bar(total, name=None):
  """A bar that counts examples in a terminal, and nothing elsewhere."""
  return tqdm(total=total, desc=name, unit="example", dynamic_ncols=True, leave=False, disable=not sys.stderr.isatty())


def load_source(path, target):
  """Loads the model to craft on; `UserError` unless it takes the same images and tells as many classes apart."""
  source = checkpoints.load_model(path)
  for what in ("input_shape", "output_shape"):
    theirs, ours = (getattr(loaded.model, what)[1:] for loaded in (source, target))
    require(theirs == ours, f"{what.replace('_', ' ')} of source {path!r}", theirs, f"{ours}, as of {target.path!r}")
  return source


def choose_split(dataset_name, split, num_examples=None):
  """The first `num_examples` (None: all) of a split of a dataset."""
  require(split in SPLITS, "split", split, ", ".join(SPLITS))
  chosen = getattr(datasets.load(dataset_name), split)
  return chosen if num_examples is None else chosen.head(num_examples)


def title(loaded, split, n, seed, sources=()):
  """What is evaluated, and the seed of the attacks, as a line of text."""
  crafted = "".join(f"; source {number + 1}: {source.path}" for number, source in enumerate(sources))
  return f"{loaded.path}, step {loaded.step:,}: {n:,} {split} examples{crafted}; seed {seed}"


def lines(result, loaded, split, seed, sources=()):
  """A `measure.Result` as lines of text."""
  def accuracy(value, interval):
    return f"{value:7.2%}  (95 % interval {percent_interval(interval)})"
  yield f"{title(loaded, split, result.n, seed, sources)}; {duration(result.seconds)}, compiling included"
  yield f"attack: {result.attack}"
  yield f"natural:      {accuracy(result.natural_accuracy, result.natural_interval)}  loss {result.natural_loss:.4f}"
  yield f"adversarial:  {accuracy(result.adversarial_accuracy, result.adversarial_interval)}  loss {result.adversarial_loss:.4f}"


def write_json(path, result, loaded, split, sources=(), **settings):
  """Writes a result, a dataclass, as a JSON object, with the models, the split and the settings it belongs to.

  What is not a finite number, such as the loss of a model that diverged, is null.
  """
  values = {"model": loaded.path, "step": loaded.step, "split": split,
            "sources": [source.path for source in sources], **settings, **vars(result)}
  values = json.loads(json.dumps(values), parse_constant=lambda name: None)
  with files.output("json", path) as file:
    file.write(json.dumps(values, indent=2).encode() + b"\n")


def watch(model_dir, make_attack, split_name, num_examples, *, batch_size, seed):
  """The challenge's endless evaluation: measures each new checkpoint until Ctrl-C, into model_dir/eval for TensorBoard.

  Args:
    model_dir: a training run's directory; it may have no checkpoint yet.
    make_attack: called with the run's `Config`, returns an attack.
    split_name: name in `SPLITS`.
    num_examples: how many of its first examples; None for all.
    batch_size: examples at a time.
    seed: of the attack.

  Raises:
    UserError: there is no such directory, it is one of the challenge's or cannot be written, or what is asked for is not to
      be had.
  """
  require(os.path.isdir(model_dir), "model_dir", model_dir, "a directory that train.py writes to")
  require(checkpoints.list_paths(model_dir) or not network.find_challenge_checkpoint(model_dir), "model_dir", model_dir,
          "a directory that train.py writes to; the checkpoints of the challenge's code are evaluated without --watch")
  # What is wrong is said now, not when there is a checkpoint. A run that has not written its config yet may be the paper's.
  path = os.path.join(model_dir, "config.json")
  config, _ = configs.resolve({}, path=path if os.path.exists(path) else None)
  choose_split(config.training.dataset, split_name, num_examples)
  make_attack(config)
  writer = _summary_writer(os.path.join(model_dir, "eval"))
  seen = loaded = None
  waiting = False
  try:
    while True:
      newest = next(iter(checkpoints.list_paths(model_dir)), None)
      if newest in (None, seen):
        if not waiting:
          print("no checkpoint yet, waiting" if newest is None else "waiting for the next checkpoint", flush=True)
        waiting = True
        time.sleep(POLL_SECONDS)
        continue
      waiting, seen = False, newest
      try:
        fresh = checkpoints.load_model(newest)
      except UserError as error:  # removed by the run, or damaged: the next one will do
        print(f"warning: {error}", file=sys.stderr)
        continue
      if loaded:  # one model for all weights: everything that was compiled for it serves again
        loaded.model.set_weights(fresh.model.get_weights())
        fresh = fresh._replace(model=loaded.model)
      loaded = fresh
      split = choose_split(loaded.config.training.dataset, split_name, num_examples)
      result = evaluate(loaded, make_attack(loaded.config), split, batch_size=batch_size, seed=seed)
      print("\n".join(lines(result, loaded, split_name, seed)), flush=True)
      _summarise(writer, loaded.step, result)
  except KeyboardInterrupt:
    print("stopped")
  finally:
    writer.close()


def _summary_writer(folder):
  try:
    return tf.summary.create_file_writer(folder)
  except tf.errors.OpError as error:
    raise UserError(f"{folder!r} cannot be made or written") from error


def _summarise(writer, step, result):
  # Under the challenge's tags: adversarial values twice, to lie over the training curve and over other runs.
  with writer.as_default(step=step):
    for suffix in ("adv eval", "adv"):
      tf.summary.scalar(f"xent {suffix}", result.adversarial_loss)
      tf.summary.scalar(f"accuracy {suffix}", result.adversarial_accuracy)
    tf.summary.scalar("xent nat", result.natural_loss)
    tf.summary.scalar("accuracy nat", result.natural_accuracy)
  writer.flush()
