"""The loop of training: step after step, and between them logs, checkpoints, validations."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable

import keras

from tf_madry import checkpoints, datasets
from tf_madry.config import Config
from tf_madry.datasets.examples import VALIDATION_SHARE
from tf_madry.errors import UserError, require
from tf_madry.models import directory
from tf_madry.runtime import files
from tf_madry.runtime.signals import StopRequest, stop_requests
from tf_madry.training import bounds, saving, validation
from tf_madry.training.description import describe
from tf_madry.training.learner import Learner
from tf_madry.training.progress import Progress
from tf_madry.training.stepper import Stepper, StepperError, StepResult
from tf_madry.training.synchronous import Synchronous

MakeStepper = Callable[[Learner, datasets.Batches], Stepper]
ChooseSteps = Callable[[Learner, Stepper, datasets.Split], int]


class Stopped(Exception):
  """A signal ended the run, which is saved; `exit_code` is 128 + the signal's number."""

  def __init__(self, signum: int):
    super().__init__(signum)
    self.exit_code = 128 + signum


def train(config: Config, *, resume: bool = True, make_stepper: MakeStepper = Synchronous,
          choose_steps: ChooseSteps | None = None) -> keras.Model:
  """Trains a model as `config` says, from where its model directory left off.

  Args:
    config: of the run.
    resume: False: refuse a directory that already holds a run.
    make_stepper: called with the learner and the batches.
    choose_steps: decides the number of steps of a new run in place of `config`, as
      `pacing.steps_within` does; called with the learner, the stepper and the validation split. A
      run that is resumed keeps its own.

  Returns:
    The trained model.

  Raises:
    UserError: bad settings or data, a directory that belongs to another experiment or cannot be
      written, no whole checkpoint, a loss that is not finite.
    Stopped: SIGINT or SIGTERM came; the run was saved.
  """
  directory.require_own(config.run.model_dir)
  dataset = datasets.load(config.training.dataset)
  batches, notices = _batches(config, dataset), []
  if config.run.eval_every and not len(dataset.validation):
    config = dataclasses.replace(config, run=dataclasses.replace(config.run, eval_every=0))
    notices.append(f"no validation: of {len(dataset.train):,} training examples none is set aside "
                   f"for it, which takes {VALIDATION_SHARE}")
  if config.training.bounds:
    notices.extend(bounds.notices(config, dataset))
  with files.exclusive(config.run.model_dir, "model_dir"), stop_requests() as stop:
    checkpoints.prepare(config.run.model_dir)
    checkpoint = checkpoints.read_newest(config.run.model_dir)
    config = saving.settled(config, checkpoint, keep_steps=choose_steps is not None)
    if checkpoint:
      saving.require_resumable(config, checkpoint, resume)
    learner = Learner(config, dataset)
    with contextlib.closing(make_stepper(learner, batches)) as stepper:
      start, elapsed = 0, 0.0
      if checkpoint:
        saving.restore(learner, stepper, checkpoint)
        start, elapsed = checkpoint.step, float(checkpoint.arrays.get("elapsed", 0.0))
      elif choose_steps:
        learner.take(choose_steps(learner, stepper, dataset.validation))
      if start < learner.config.training.steps:
        saving.write_config(learner.config)
      with contextlib.closing(Progress(learner.config, start, elapsed)) as progress:
        for line in (*describe(learner.config, start), *notices):
          progress.say(line)
        _Run(learner, stepper, batches, dataset.validation, progress, stop, saved=start).go_on()
  return learner.model


def _batches(config, dataset):
  candidates, available = config.training.candidates, len(dataset.train)
  if candidates > 1:
    require(config.training.drawn <= available, "batch_size", config.training.batch_size,
            f"up to {available // candidates:,}: of {available:,} training examples a step draws "
            f"{candidates} batches")
  return datasets.Batches(available, config.training.drawn, config.training.seed)


class _Run:
  """A run under way; `saved` is the step of its newest checkpoint, 0 before the first."""

  def __init__(self, learner: Learner, stepper: Stepper, batches: datasets.Batches,
               validation_split: datasets.Split, progress: Progress, stop: StopRequest, saved: int):
    self._learner, self._stepper, self._batches = learner, stepper, batches
    self._validation, self._progress, self._stop = validation_split, progress, stop
    self._config, self._saved = learner.config, saved

  def go_on(self) -> None:
    """Does the steps that are left."""
    start, steps = self._saved, self._config.training.steps
    if start >= steps:
      self._progress.say(f"already trained for {start:,} of {steps:,} steps: none is left to do")
    if 0 < start <= steps and not self._progress.validated:
      self._conclude(start)  # the run ended before it could
    for step in range(start, steps):
      self._do(step)
      done = step + 1
      if done % self._config.run.checkpoint_every == 0 or done == steps:
        self._save(done)
      self._conclude(done)

  def _do(self, step):
    """Does a step, looks at its loss, and logs it where that is due."""
    learner, done = self._learner, step + 1
    logs = self._config.logs_after(done)
    # Natural accuracy costs a forward pass of its own, and has to be of the same weights as the
    # other numbers: those before the update. Where steps compute with other weights than the result
    # has, all are of the result, after the update.
    apart = learner.copies.apart
    natural = self._natural_accuracy(step) if logs and not apart else None
    began = time.monotonic()
    result = self._next(step)
    loss = float(result.loss)
    self._progress.timed(time.monotonic() - began, self._stepper.pending)
    if logs and apart:
      natural, result = self._natural_accuracy(step), learner.rescore(result)
      loss = float(result.loss)
    if not math.isfinite(loss):
      last_good = (f"the last good checkpoint is that of step {self._saved:,}" if self._saved
                   else "no step has been saved yet")
      raise UserError(f"the loss is {loss} at step {done:,}; {last_good}")
    if logs:
      values = {"natural_accuracy": natural, "adversarial_accuracy": float(result.accuracy),
                "loss": loss}
      if self._progress.report(done, values | self._stepper.report(), result.images):
        self._stepper.begin_line()

  def _next(self, step) -> StepResult:
    try:
      while (result := self._stepper(step)) is None:
        if self._stop.signum:
          self._end(step)
    except StepperError as error:
      if self._stop.signum:  # and whoever the stepper works with has stopped before
        self._end(step)
      if step > self._saved:
        self._save(step)
      raise StepperError(f"{error}; saved after step {step:,}" if step else str(error)) from error
    return result

  def _natural_accuracy(self, step):
    images, labels = self._learner.moved(self._batches.indices(step), step)
    return validation.natural_accuracy(self._learner.model, images, labels)

  def _conclude(self, done):
    """What comes after a step: a validation, if one is due; the end, if that was asked for."""
    every = self._config.run.eval_every
    due = every and (done % every == 0 or done == self._config.training.steps)
    if due and not self._stop.signum:
      # Cut short by a signal, it is made when the run goes on.
      found = validation.validate(self._learner, self._validation, lambda: self._stop.signum)
      if found:
        self._progress.report_validation(done, found)
    if self._stop.signum:
      self._end(done)

  def _save(self, step):
    saving.save(self._learner, self._stepper, step, self._progress.elapsed)
    self._saved = step

  def _end(self, step):
    self._save(step)
    self._progress.say(f"stopped after step {step:,}, saved in {self._config.run.model_dir}; "
                       "the same command goes on from here")
    raise Stopped(self._stop.signum)
