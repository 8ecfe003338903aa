"""The loop of training: runs the steps of `learner.py`, logs, saves and resumes."""

import contextlib
import dataclasses
import json
import math
import os
import statistics
import time

import keras
import numpy as np
import tensorflow as tf

import tf_madry
from tf_madry import checkpoints, datasets
from tf_madry.attacks.losses import score
from tf_madry.attacks.pgd import PGD
from tf_madry.config import Config
from tf_madry.errors import UserError, require
from tf_madry.evaluation import accuracy
from tf_madry.runtime import devices, files
from tf_madry.runtime.signals import stop_requests
from tf_madry.training.learner import Learner
from tf_madry.training.progress import Progress

# The pace of a run of so many minutes is measured on so many steps, and for such a share of the time: it drifts.
PACE_STEPS = 10
PACE_SHARE = 0.03
ENDING = 10.0  # seconds that the last checkpoint and the end of the process are reckoned to take
LOOP_SHARE = 0.9  # of the time without validations, that steps may take at their pace; the rest is for a pace that falls
VALIDATION_EXAMPLES = 1_000  # of the validation split: an interval of ±2 points for a few seconds of work
VALIDATION_BATCH = 200

SLOW = ("paper", "challenge")  # recipes that take hours without a GPU


class Synchronous:
  """The ordinary source of training steps: craft, then train, on the batches of one process.

  A source is called with the number of the step and returns a `learner.StepResult`, or None for "not yet, call again" where it
  depends on others; `arrays` and `restore` keep what it needs to go on after a stop, `report` adds to what is logged.
  """

  def __init__(self, learner, batches):
    self._learner = learner
    self._batches = batches
    self._moved = {}  # by step: the number of its batch, where that is another one

  def __call__(self, step):
    """Does training step `step` (from 0)."""
    return self._learner.step(tf.constant(self._batches.indices(self._moved.pop(step, step))), tf.constant(step))

  def arrays(self):
    """{name: array} for the checkpoint: batches are a function of the step, but for those that have been moved."""
    if not self._moved:
      return {}
    return {"tickets/next_ticket": np.int64(1 + max(self._moved)), "tickets/returned": np.int64(list(self._moved.values()))}

  def restore(self, checkpoint):
    """Goes on from a `checkpoints.Checkpoint`, be it of an asynchronous run: first with what that had in flight."""
    # So many as there are between the step and the first batch that was never begun: from there on all is in order.
    self._moved = dict(enumerate(checkpoint.arrays.get("tickets/returned", np.int64([])).tolist(), checkpoint.step))

  def report(self):
    """{name: value} for the log, see `Progress.report`."""
    return {}

  def close(self):
    """Lets go of everything but the learner; the last call."""


class SourceError(UserError):
  """A source cannot make another step, though the run is sound as far as it has come: it is saved first."""


class Stopped(Exception):
  """A signal ended the run, after its checkpoint was written; `exit_code` is 128 + the signal's number."""

  def __init__(self, signum):
    super().__init__(signum)
    self.exit_code = 128 + signum


def train(config, *, resume=True, make_source=Synchronous, minutes=None, began=None):
  """Trains a model as `config` says, from where its model directory left off.

  Args:
    config: `Config`.
    resume: False: refuse a directory that already holds a run.
    make_source: called with (learner, batches); returns a source of steps, see `Synchronous`.
    minutes: how long a new run shall take in all: decides its number of steps in place of `config`. A run that is resumed
      keeps its own.
    began: time (of `time.monotonic`) from which they count; None: now.

  Returns:
    The trained Keras model.

  Raises:
    UserError: bad settings or data, a directory that belongs to another experiment or cannot be written, no whole
      checkpoint, a loss that is not finite, minutes that leave no time for a step.
    Stopped: SIGINT or SIGTERM came; the run was saved.
  """
  began = time.monotonic() if began is None else began
  dataset = datasets.load(config.training.dataset)
  candidates, available = config.training.candidates, len(dataset.train)
  if candidates > 1:
    require(config.training.drawn <= available, "batch_size", config.training.batch_size,
            f"up to {available // candidates:,}: of {available:,} training examples a step draws {candidates} batches")
  batches = datasets.Batches(available, config.training.drawn, config.training.seed)
  with files.exclusive(config.run.model_dir, "model_dir"), stop_requests() as stop:
    checkpoints.prepare(config.run.model_dir)
    checkpoint = checkpoints.read_newest(config.run.model_dir)
    config = _settled(config, checkpoint, minutes)
    if checkpoint:
      _require_resumable(config, checkpoint, resume)
    learner = Learner(config, dataset)
    if minutes and not checkpoint:
      learner.take(_steps_within(minutes, began, learner, batches, dataset.validation))
      config = learner.config
    with contextlib.closing(make_source(learner, batches)) as source:
      start, elapsed = 0, 0.0
      if checkpoint:
        checkpoints.restore(learner.variables(), checkpoint)
        source.restore(checkpoint)
        start, elapsed = checkpoint.step, float(checkpoint.arrays.get("elapsed", 0.0))
      if start < config.training.steps:
        write_config(config)
      with contextlib.closing(Progress(config, start, elapsed)) as progress:
        for line in describe(config, start):
          progress.say(line)
        _loop(config, learner, source, batches, dataset, progress, start, stop)
  return learner.model


def _settled(config, checkpoint, minutes):
  """The config with what it leaves to the machine: as the run that is resumed has it, or as is best here."""
  training = config.training
  theirs = checkpoint and Config.from_values(checkpoint.values).training
  if training.precision is None:
    precision = theirs.precision if theirs else devices.fast_precision()
    training = dataclasses.replace(training, precision=precision)
  if minutes and theirs:
    training = dataclasses.replace(training, steps=theirs.steps)
  return dataclasses.replace(config, training=training)


def _steps_within(minutes, began, learner, batches, validation):
  """How many steps can be done, and validated, at the speed of the first few, which are then undone."""
  state = [(variable, variable.numpy()) for variable in learner.variables().values()]
  times = []
  while len(times) < 1 + PACE_STEPS or sum(times[1:]) < PACE_SHARE * 60 * minutes:
    before, step = time.monotonic(), len(times)
    float(learner.step(tf.constant(batches.indices(step)), tf.constant(step)).loss)
    times.append(time.monotonic() - before)
  for variable, value in state:
    variable.assign(value)
  seconds, ending = statistics.median(times[1:]) / LOOP_SHARE, ENDING
  if every := learner.config.run.eval_every:
    validation_seconds = _validation_seconds(learner, validation)
    seconds += validation_seconds / every
    ending += validation_seconds
  steps = int((began + 60 * minutes - time.monotonic() - ending) / seconds)
  require(steps >= 1, "minutes", minutes, "enough for a step after the start")
  return steps


def _validation_seconds(learner, split):
  """The time that a validation takes, by its first batch; the time to compile is left out."""
  batch = split.head(min(len(split), VALIDATION_BATCH))
  _measure(learner, batch)
  began = time.monotonic()
  _measure(learner, batch)
  return (time.monotonic() - began) * min(len(split), VALIDATION_EXAMPLES) / len(batch)


def _require_resumable(config, checkpoint, resume):
  where = f"model_dir {config.run.model_dir!r} holds a run at step {checkpoint.step:,}"
  require(resume, "noresume", config.run.model_dir, f"a directory without a run ({where})")
  theirs = Config.from_values(checkpoint.values).experiment()
  for name, value in config.experiment().items():
    if theirs.get(name, value) != value:
      raise UserError(f"{where} with {name} {theirs[name]!r}, not {value!r}: "
                      f"continue it with its own {name}, or choose another --model_dir")


def _loop(config, learner, source, batches, dataset, progress, start, stop):
  run, steps = config.run, config.training.steps
  saved = start

  def conclude(done):
    """What comes after a step: its validation, if one is due, and the end of the run, if that was asked for."""
    due = run.eval_every and (done % run.eval_every == 0 or done == steps)
    if due and not stop.signum:
      _validate(learner, dataset.validation, progress, done, stop)
    if stop.signum:
      _stop(config, learner, source, progress, done, stop)

  if start >= steps:
    progress.say(f"already trained for {start:,} of {steps:,} steps: none is left to do")
  if 0 < start <= steps and not progress.validated:
    conclude(start)  # the run ended before it could
  for step in range(start, steps):
    done = step + 1
    logs = done % run.log_every == 0 or done % run.summary_every == 0 or done == steps
    # Natural accuracy costs a forward pass of its own, and has to be of the same weights as the other numbers: those before
    # the update. Where the step computes with other weights than the result has, all are of the result, after the update.
    natural = _natural_accuracy(learner, batches.indices(step)) if logs and not learner.computes_apart else None
    began = time.monotonic()
    try:
      while (result := source(step)) is None:
        if stop.signum:
          _stop(config, learner, source, progress, step, stop)
    except SourceError as error:
      save(config, learner, source, progress, step)
      raise SourceError(f"{error}; saved after step {step:,}") from error
    loss = float(result.loss)
    progress.timed(time.monotonic() - began)
    if logs and learner.computes_apart:
      natural, result = _natural_accuracy(learner, batches.indices(step)), learner.rescore(result)
      loss = float(result.loss)
    if not math.isfinite(loss):
      last_good = f"the last good checkpoint is that of step {saved:,}" if saved else "no step has been saved yet"
      raise UserError(f"the loss is {loss} at step {done:,}; {last_good}")
    if logs:
      values = {"natural_accuracy": natural, "adversarial_accuracy": float(result.accuracy), "loss": loss}
      progress.report(done, values | source.report(), result.images)
    if done % run.checkpoint_every == 0 or done == steps:
      save(config, learner, source, progress, done)
      saved = done
    conclude(done)


def _stop(config, learner, source, progress, step, stop):
  save(config, learner, source, progress, step)
  progress.say(f"stopped after step {step:,}, saved in {config.run.model_dir}; the same command goes on from here")
  raise Stopped(stop.signum)


def _natural_accuracy(learner, indices):
  right, _ = score(learner.model, *learner.batch(indices))
  return float(tf.reduce_mean(tf.cast(right, tf.float32)))


def _validate(learner, split, progress, step, stop):
  """Measures and says how the model does; leaves when there is a request to stop, and then the next start has to do it."""
  def look(*_):
    if stop.signum:
      raise Stopped(stop.signum)

  try:
    result = _measure(learner, split.head(min(len(split), VALIDATION_EXAMPLES)), look)
  except Stopped:
    return
  progress.record(step, {
      "split": "validation", "n": result.n, "natural_accuracy": result.natural_accuracy,
      "adversarial_accuracy": result.adversarial_accuracy, "natural_loss": result.natural_loss,
      "loss": result.adversarial_loss})
  progress.say(f"step {step:,}  validation: natural {result.natural_accuracy:.1%}, adversarial "
               f"{result.adversarial_accuracy:.1%} under PGD κ = {learner.config.judge.k} (n = {result.n:,})")


def _measure(learner, split, on_batch=None):
  config = learner.config
  return accuracy.evaluate(learner.model, PGD(**dataclasses.asdict(config.judge)), split, batch_size=VALIDATION_BATCH,
                         seed=config.training.seed, on_batch=on_batch)


def save(config, learner, source, progress, step):
  """Writes a checkpoint of the whole run; refuses weights that are not finite."""
  arrays = {name: variable.numpy() for name, variable in learner.variables().items()}
  for name, array in arrays.items():
    if not np.isfinite(array).all():
      raise UserError(f"{name} is not finite after step {step:,}, which is not saved")
  arrays |= {"step": np.int64(step), "elapsed": np.float64(progress.elapsed),
             "image_shape": np.int32(learner.image_shape), "num_classes": np.int32(learner.num_classes)}
  checkpoints.save(config.run.model_dir, step, config, arrays | source.arrays(), keep=config.run.keep)


def write_config(config):
  """Writes config.json: the effective config, and what it ran with."""
  versions = {"tensorflow": tf.__version__, "keras": keras.__version__, "numpy": np.__version__,
              "tf_madry": tf_madry.__version__}
  path = os.path.join(config.run.model_dir, "config.json")
  with files.output("config", path) as file:
    file.write(json.dumps(config.values() | {"versions": versions}, indent=2).encode() + b"\n")


def describe(config, start):
  """Lines that say what a run will do."""
  training, attack = config.training, config.attack
  against = (f"PGD κ = {attack.k}, α = {attack.step_size:.4g}, ε = {attack.epsilon:g}, loss {attack.loss}, "
             f"{'random start' if attack.random_start else 'no random start'}") if training.adversarial else "nothing"
  if training.replay:
    against = (f"ε = {attack.epsilon:g}: κ = {attack.k}, α = {attack.step_size:.4g}, of which the last "
               f"{max(1, attack.k - training.lead)} update the weights, perturbations carried from epoch to epoch")
  if training.candidates > 1:
    against += f", the hardest {training.batch_size} of {training.drawn} examples a step"
  if training.margin != 1:
    against += f", in a ball of {training.margin:g} ε"
  yield (f"recipe {training.recipe} on {training.dataset}: {training.steps:,} steps of batch {training.batch_size}, Adam "
         f"{training.learning_rate:g}{' at its peak' if training.schedule == 'linear' else ''}, seed {training.seed}, "
         f"{training.precision}, against {against}")
  yield f"writing to {config.run.model_dir}, a checkpoint every {config.run.checkpoint_every:,} steps"
  if start:
    yield f"resuming from step {start:,}"
  elif training.recipe in SLOW and not devices.has_gpu():
    yield "on a CPU, `python train.py --recipe fast` makes a robust model in minutes"
