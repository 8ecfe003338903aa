"""What a run keeps in its model directory, and how it goes on from there."""

import dataclasses
import json
import os

import keras
import numpy as np
import tensorflow as tf

import tf_madry
from tf_madry import checkpoints
from tf_madry.checkpoints import Checkpoint
from tf_madry.config import Config
from tf_madry.errors import UserError, require
from tf_madry.runtime import devices, files
from tf_madry.training.learner import Learner
from tf_madry.training.stepper import Stepper


def settled(config: Config, checkpoint: Checkpoint | None, *, keep_steps: bool = False) -> Config:
  """The config with what it leaves open: as the run that is resumed has it, or as is best here.

  Args:
    config: as the user gave it.
    checkpoint: of the run that is resumed.
    keep_steps: whether the number of steps is that of the run that is resumed.
  """
  training = config.training
  theirs = checkpoint and Config.from_values(checkpoint.values).training
  if training.precision is None:
    precision = theirs.precision if theirs else devices.fast_precision()
    training = dataclasses.replace(training, precision=precision)
  if keep_steps and theirs:
    training = dataclasses.replace(training, steps=theirs.steps)
  return dataclasses.replace(config, training=training)


def require_resumable(config: Config, checkpoint: Checkpoint, resume: bool) -> None:
  """Raises `UserError` unless the run of a checkpoint is the same experiment, and to be resumed."""
  where = f"model_dir {config.run.model_dir!r} holds a run at step {checkpoint.step:,}"
  require(resume, "noresume", config.run.model_dir, f"a directory without a run ({where})")
  theirs = Config.from_values(checkpoint.values).experiment()
  for name, value in config.experiment().items():
    if theirs.get(name, value) != value:
      raise UserError(f"{where} with {name} {theirs[name]!r}, not {value!r}: "
                      f"continue it with its own {name}, or choose another --model_dir")


def snapshot(learner: Learner, stepper: Stepper, step: int = 0) -> Checkpoint:
  """The state of a run after so many steps, as copies."""
  arrays = {name: variable.numpy() for name, variable in learner.variables().items()}
  return Checkpoint(step, learner.config.values(), arrays | stepper.arrays(), "memory")


def restore(learner: Learner, stepper: Stepper, checkpoint: Checkpoint) -> None:
  """Goes on from a checkpoint; `UserError` if it does not fit, and no variable was changed."""
  checkpoints.restore(learner.variables(), checkpoint)
  stepper.restore(checkpoint)


def save(learner: Learner, stepper: Stepper, step: int, elapsed: float) -> None:
  """Writes a checkpoint of the whole run.

  Args:
    learner, stepper: of the run.
    step: number of steps done.
    elapsed: seconds that they took.

  Raises:
    UserError: something is not finite, or it cannot be written.
  """
  arrays = snapshot(learner, stepper, step).arrays
  for name, array in arrays.items():
    if not np.isfinite(array).all():
      raise UserError(f"{name} is not finite after step {step:,}, which is not saved")
  arrays |= {"step": np.int64(step), "elapsed": np.float64(elapsed),
             "image_shape": np.int32(learner.image_shape),
             "num_classes": np.int32(learner.num_classes)}
  run = learner.config.run
  checkpoints.save(run.model_dir, step, learner.config, arrays, keep=run.keep)


def versions() -> dict[str, str]:
  """{name: version} of what a run runs with."""
  return {"tensorflow": tf.__version__, "keras": keras.__version__, "numpy": np.__version__,
          "tf_madry": tf_madry.__version__}


def write_config(config: Config) -> None:
  """Writes config.json: the effective config, and what it ran with."""
  path = os.path.join(config.run.model_dir, "config.json")
  with files.output("config", path) as file:
    file.write(json.dumps(config.values() | {"versions": versions()}, indent=2).encode() + b"\n")
