"""The challenge's endless evaluation: each new checkpoint of a run, as it appears, until Ctrl-C."""

import os
import sys
import time
from collections.abc import Callable

import tensorflow as tf

from tf_madry import checkpoints
from tf_madry import config as configs
from tf_madry.datasets import Split
from tf_madry.errors import UserError, require
from tf_madry.evaluation import accuracy, report
from tf_madry.evaluation.load import Choice, run_config
from tf_madry.models import directory, loading, tf1
from tf_madry.runtime import files

POLL_SECONDS = 2.0

Evaluation = Callable[[loading.LoadedModel, Split], accuracy.Result]


def watch(model_dir: str, prepare: Callable[[configs.Config], Evaluation], choice: Choice, *,
          seed: int) -> None:
  """Measures each new checkpoint until Ctrl-C, and writes into model_dir/eval for TensorBoard.

  Args:
    model_dir: a training run's directory; it may have no checkpoint yet.
    prepare: called with the run's `Config`, returns what measures a checkpoint.
    choice: which examples.
    seed: of the attack, for what is printed.

  Raises:
    UserError: there is no such directory, it is one of the challenge's or cannot be written, or
      what is asked for is not to be had.
  """
  require(os.path.isdir(model_dir), "model_dir", model_dir, "a directory that train.py writes to")
  require(checkpoints.list_paths(model_dir) or not tf1.find_checkpoint(model_dir), "model_dir",
          model_dir,
          "a directory that train.py writes to; the checkpoints of the challenge's code are "
          "evaluated without --watch")
  # What is wrong is said now, not when there is a checkpoint.
  config = run_config(model_dir)
  choice.of(config.training.dataset)
  prepare(config)
  writer = _summary_writer(os.path.join(model_dir, "eval"))
  model = None
  try:
    for fresh in _checkpoints(model_dir):
      if model:  # one model for all weights: everything that was compiled for it serves again
        model.set_weights(fresh.model.get_weights())
        fresh = fresh._replace(model=model)
      model = fresh.model
      examples = choice.of(fresh.config.training.dataset)
      result = prepare(fresh.config)(fresh, examples)
      title = report.title(fresh, choice.text(len(examples)), seed)
      print("\n".join(accuracy.lines(result, title)), flush=True)
      _summarise(writer, fresh.step, result)
  except KeyboardInterrupt:
    print("stopped")
  finally:
    writer.close()


def _checkpoints(model_dir):
  """Yields the newest checkpoint as a `LoadedModel`, then each newer one as it appears, without an
  end."""
  seen, waiting = None, False
  while True:
    newest = next(iter(checkpoints.list_paths(model_dir)), None)
    if newest in (None, seen):
      if not waiting:
        print("no checkpoint yet, waiting" if newest is None else "waiting for the next checkpoint",
              flush=True)
      waiting = True
      time.sleep(POLL_SECONDS)
      continue
    waiting, seen = False, newest
    directory.require_one(model_dir)
    try:
      yield loading.load_model(newest)
    except UserError as error:  # removed by the run, or damaged: the next one will do
      print(f"warning: {error}", file=sys.stderr)


def _summary_writer(folder):
  if os.path.exists(folder) and not os.path.isdir(folder):
    raise UserError(f"{folder!r} cannot be made or written")
  if not files.can_hold(folder):
    print(f"note: {folder!r} cannot be written: nothing is kept for TensorBoard", file=sys.stderr)
    return tf.summary.create_noop_writer()
  try:
    return tf.summary.create_file_writer(os.fsencode(folder))
  except tf.errors.OpError as error:
    raise UserError(f"{folder!r} cannot be made or written") from error


def _summarise(writer, step, result):
  # Under the challenge's tags: adversarial values twice, to lie over the training curve and over
  # other runs.
  with writer.as_default(step=step):
    for suffix in ("adv eval", "adv"):
      tf.summary.scalar(f"xent {suffix}", result.adversarial_loss)
      tf.summary.scalar(f"accuracy {suffix}", result.adversarial_accuracy)
    tf.summary.scalar("xent nat", result.natural_loss)
    tf.summary.scalar("accuracy nat", result.natural_accuracy)
  writer.flush()
