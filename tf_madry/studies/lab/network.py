"""A trained network, and what its folder tells of its training."""

import dataclasses
import functools
import json
import os
from typing import Any

import numpy as np

from tf_madry import checkpoints
from tf_madry.config import Config, read_file
from tf_madry.errors import UserError
from tf_madry.studies.lab import cache, recorder
from tf_madry.training.progress import METRICS
from tf_madry.training.schedule import rate

MADE = "made.json"  # what is known of the training besides what every run records


@dataclasses.dataclass(frozen=True)
class Network:
  """A network that has been trained, by its `config`.

  All that is read raises `UserError` where a file cannot be read or is not whole.
  """

  config: Config

  @property
  def folder(self) -> str:
    """Its model directory."""
    return self.config.run.model_dir

  @property
  def name(self) -> str:
    """What decides it, as a short name: that of its folder."""
    return os.path.basename(self.folder)

  @property
  def steps(self) -> int:
    """How many it was trained for."""
    return self.config.training.steps

  @functools.cached_property
  def rows(self) -> list[dict[str, Any]]:
    """Its lines of metrics.jsonl, of training alone."""
    return [row for row in self._metrics() if row["split"] == "train"]

  @functools.cached_property
  def validation(self) -> list[dict[str, Any]]:
    """Its lines of metrics.jsonl, of evaluations on the validation split."""
    return [row for row in self._metrics() if row["split"] == "validation"]

  def _metrics(self):
    path = os.path.join(self.folder, METRICS)
    try:
      with open(path, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
      whole = ("train", self.steps) in {(row["split"], row["step"]) for row in rows}
    except OSError as error:
      raise UserError(f"{path!r} cannot be read: {error.strerror}; remove its folder, or choose "
                      "another --out") from error
    except (ValueError, LookupError, TypeError):
      whole = False
    if not whole:
      raise UserError(f"{path!r} is damaged: it does not tell of all {self.steps:,} steps; remove "
                      "its folder, or choose another --out")
    return rows

  def curve(self) -> list[dict[str, Any]]:
    """Adversarial accuracy in training, by line of its log.

    A row has `step`, `fresh_accuracy`, `stale_accuracy` and `learning_rate`. Without staleness
    fresh and stale are one, of a single batch; with it they are means over the line's steps.
    """
    training = self.config.training

    def value(row, name):
      return row.get(name, row["adversarial_accuracy"])

    return [{"step": row["step"], "fresh_accuracy": value(row, "fresh_accuracy"),
             "stale_accuracy": value(row, "stale_accuracy"),
             "learning_rate": float(rate(training.schedule, training.learning_rate,
                                         row["step"] / self.steps))}
            for row in self.rows]

  @functools.cached_property
  def made(self) -> dict[str, Any]:
    """How it was made: `machine`, and `validation`, {setting: value} of the attack on the way.

    Networks that were trained before this was recorded were validated with the attack that they
    were trained against.
    """
    path = os.path.join(self.folder, MADE)
    return cache.read(path) if os.path.exists(path) else {
      "machine": None, "validation": dataclasses.asdict(self.config.attack)}

  @property
  def seconds(self) -> float | None:
    """Time of its training steps: their number times the median time of one.

    Compiling is left out.
    """
    speeds = [row["examples_per_second"] for row in self.rows if row["examples_per_second"]]
    examples = self.steps * self.config.training.batch_size
    return examples / float(np.median(speeds)) if speeds else None

  @functools.cached_property
  def frames(self) -> np.ndarray:
    """The recorder's perturbations of the watched examples, float32 in units of ε."""
    frames = checkpoints.read_newest(self.folder).arrays["frames"]
    return frames.astype(np.float32) / recorder.LEVELS

  @property
  def is_trained(self) -> bool:
    """Whether its folder holds it, trained to the end by this config.

    Raises:
      UserError: the folder holds a network of other settings.
    """
    newest = next(iter(checkpoints.list_paths(self.folder)), None)
    if newest is None or newest != checkpoints.path_of(self.folder, self.steps):
      return False
    # Of settings that are younger than the file, it has the defaults.
    theirs = Config.from_values(read_file(os.path.join(self.folder, "config.json"))[0]).values()
    ours = self.config.experiment()
    other = [name for name in ours if theirs[name] != ours[name]]
    if other:
      raise UserError(f"{self.folder!r} holds a network with {other[0]} {theirs[other[0]]!r}, not "
                      f"{ours[other[0]]!r} as its name says; remove it, or choose another --out")
    # The last validation comes after the last checkpoint; a run may have been stopped in between.
    validated = self.config.run.eval_every and [row["step"]
                                                for row in Network(self.config).validation]
    return not self.config.run.eval_every or self.steps in validated
