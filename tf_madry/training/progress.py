"""What a run tells while it goes on: progress bar or lines, metrics.jsonl, TensorBoard."""

import contextlib
import dataclasses
import json
import os
import sys
import time

import tensorflow as tf
from tqdm import tqdm

from tf_madry.config import Config
from tf_madry.errors import UserError
from tf_madry.runtime import files
from tf_madry.runtime.text import duration
from tf_madry.training.validation import Validation

METRICS = "metrics.jsonl"
ESTIMATE_AFTER = 20  # timed steps: enough for a first estimate, seconds into the run

# What of a step's values is shown in the terminal, where there is such a value: its label there,
# and its format.
SHOWN = {
    "natural_accuracy": ("nat", ".1%"), "adversarial_accuracy": ("adv", ".1%"),
    "certified_accuracy": ("cert", ".1%"), "loss": ("loss", ".4f"),
    "fresh_accuracy": ("fresh", ".1%"),
    "staleness_mean": ("stale", ".1f"), "staleness_p95": ("p95", ".0f"),
    "staleness_max": ("max", "d"), "queue_depth": ("queue", ".1f"),
    "trainer_waiting": ("waiting", ".0%"), "workers_blocked": ("blocked", ".0%"),
    "thrown_away": ("thrown away", "d"),
}
# A bar without the time that is left, as long as steps do not have the pace that they go on at.
WITHOUT_ESTIMATE = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}, {rate_fmt}{postfix}]"


@dataclasses.dataclass
class _Pace:
  """Some steps, and the seconds that they took."""

  steps: int = 0
  seconds: float = 0.0

  def add(self, seconds: float) -> None:
    self.steps, self.seconds = self.steps + 1, self.seconds + seconds

  def time_of(self, steps: int) -> float | None:
    """Seconds that so many steps take; None if there is nothing to tell it by."""
    return steps * self.seconds / self.steps if self.steps else None


class Progress:
  """Reports one training run.

  Time that counts as training is the time inside the steps; the first step after a start, which
  compiles, is left out of every speed. What a run will take, and what is left of it, is told by the
  steps alone that had the pace at which it goes on.

  Args:
    config: `Config` of the run.
    start: step the run starts or resumes from.
    elapsed: seconds the run has taken before, for a resumed one.

  Attributes:
    validated: whether metrics.jsonl has a validation of the step it starts from.

  Raises:
    UserError: metrics.jsonl or an event file cannot be written; so do `report` and
      `report_validation`.
  """

  def __init__(self, config: Config, start: int = 0, elapsed: float = 0.0):
    self.config, self._start = config, start
    self._line = _Pace()  # since the last report
    self._steady, self._first = _Pace(), _Pace()  # at their pace: since the last report, the start
    self._compiled = False
    self._estimated = False
    self._pending = ""
    self._path = os.path.join(config.run.model_dir, METRICS)
    with self._writing():
      rows = keep_until(self._path, start)
      self._file = open(self._path, "a", encoding="utf-8")  # noqa: SIM115 (closed in close())
      # Bytes: a name that the locale cannot decode is none that TensorFlow can encode.
      self._writer = tf.summary.create_file_writer(os.fsencode(config.run.model_dir))
    # A validation comes after the checkpoint of its step.
    self._began = time.monotonic() - max([elapsed, *(row.get("time", 0.0) for row in rows)])
    self.validated = any(row["step"] == start and row.get("split") == "validation" for row in rows)
    self._bar = tqdm(total=config.training.steps, initial=start, unit="step",
                     dynamic_ncols=True, smoothing=0.05, disable=not sys.stderr.isatty())

  @property
  def elapsed(self) -> float:
    """Seconds since the run first began, stops left out."""
    return time.monotonic() - self._began

  def timed(self, seconds: float, pending: str = "") -> None:
    """Counts one step.

    Args:
      seconds: that it took.
      pending: as of `Stepper`, after it.
    """
    self._pending = pending
    self._bar.bar_format = WITHOUT_ESTIMATE if pending else None
    self._bar.update()
    if not self._compiled:
      self._compiled = True
      return
    self._line.add(seconds)
    if pending:
      self._steady, self._first = _Pace(), _Pace()
      return
    self._steady.add(seconds)
    self._first.add(seconds)
    if not self._estimated and self._first.steps == ESTIMATE_AFTER:
      self._estimated = True
      steps = self.config.training.steps - self._start
      here = " from here" if self._start else ""
      self.say(f"{steps:,} steps{here} will take about {duration(self._first.time_of(steps))} "
               f"(extrapolated from {self._first.steps} steps; compiling left out)")

  def report(self, step: int, values: dict[str, object], images: tf.Tensor) -> bool:
    """Logs the values of a step, where due: to the terminal, metrics.jsonl and TensorBoard.

    Args:
      step: number of steps done.
      values: {name: value}, names as in metrics.jsonl. A value is a number, a list of numbers (one
        a process), or {number: how often}.
      images: the adversarial batch, [batch, height, width, channels].

    Returns:
      Whether a line of metrics.jsonl was written.
    """
    if line := self.config.has_line(step):
      speed = self._line.steps / self._line.seconds if self._line.steps else None
      per_second = speed and round(speed * self.config.training.batch_size, 1)
      self._record(step, {"split": "train", **values, "examples_per_second": per_second})
      self._show(step, values, speed, self._steady.time_of(self.config.training.steps - step))
      self._line, self._steady = _Pace(), _Pace()
    if step % self.config.run.summary_every == 0:
      self._summarise(step, values, images)
    return line

  def report_validation(self, step: int, found: Validation) -> None:
    """Logs what a validation found: to the terminal and metrics.jsonl, its pictures to TensorBoard.
    """
    result, certificate = found.result, found.certificate
    proven = {"certified_accuracy": certificate.certified_accuracy} if certificate else {}
    self._record(step, {
        "split": "validation", "n": result.n, "natural_accuracy": result.natural_accuracy,
        "adversarial_accuracy": result.adversarial_accuracy, **proven,
        "natural_loss": result.natural_loss, "loss": result.adversarial_loss})
    certified = f", certified {certificate.certified_accuracy:.1%}" if certificate else ""
    self.say(f"step {step:,}  validation: natural {result.natural_accuracy:.1%}, adversarial "
             f"{result.adversarial_accuracy:.1%} under PGD κ = {self.config.evaluation_attack.k}"
             f"{certified} (n = {result.n:,})")
    images, text = found.strips
    with self._writing(), self._writer.as_default(step=step):
      if len(images):
        tf.summary.image("validation: natural, perturbation, adversarial", images,
                         max_outputs=len(images))
      tf.summary.text("validation: what the model says", text)
      self._writer.flush()

  def _record(self, step, values):
    """Appends one object to metrics.jsonl."""
    row = {"step": step, "time": round(self.elapsed, 3), **values}
    with self._writing():
      self._file.write(json.dumps(row) + "\n")
      self._file.flush()

  def say(self, line: str) -> None:
    """Prints a line, above the bar if there is one."""
    if self._bar.disable:
      print(line, flush=True)
    else:
      self._bar.write(line)

  def _show(self, step, values, speed, left):
    shown = {label: format(values[name], form) for name, (label, form) in SHOWN.items()
             if name in values}
    if not self._bar.disable:
      self._bar.set_postfix(shown)
      return
    outlook = self._pending if left is None else f"{duration(left)} left"
    pace = f"{speed:.2f} steps/s, {outlook}" if speed else "compiling"
    text = "  ".join(f"{label} {value}" for label, value in shown.items())
    print(f"step {step:,}/{self.config.training.steps:,}  {text}  {pace}", flush=True)

  def _summarise(self, step, values, images):
    # The challenge logs training values twice, so that a run's curve lies over its evaluation's and
    # over other runs'.
    with self._writing(), self._writer.as_default(step=step):
      for suffix in ("adv train", "adv"):
        tf.summary.scalar(f"accuracy {suffix}", values["adversarial_accuracy"])
        tf.summary.scalar(f"xent {suffix}", values["loss"])
      tf.summary.scalar("accuracy nat train", values["natural_accuracy"])
      for name in values.keys() - {"adversarial_accuracy", "natural_accuracy", "loss"}:
        _summarise_value(name.replace("_", " "), values[name])
      tf.summary.image("images adv train", images[:3])
      self._writer.flush()

  @contextlib.contextmanager
  def _writing(self):
    try:
      yield
    except OSError as error:
      raise UserError(f"{self._path!r} cannot be written: {error.strerror}") from error
    except tf.errors.OpError as error:
      # The operation in braces, path and reason, and on other lines what else fails because of
      # that.
      why = error.message.splitlines()[0].rpartition("}} ")[2]
      raise UserError(f"TensorBoard's file cannot be written: {why}") from error

  def close(self) -> None:
    """Closes files and the bar."""
    self._bar.close()
    for file in (self._file, self._writer):
      with contextlib.suppress(OSError, tf.errors.OpError):  # of what could not be written before
        file.close()


def _summarise_value(tag, value):
  if isinstance(value, dict):
    numbers = [float(number) for number, count in value.items() for _ in range(count)]
    tf.summary.histogram(tag, numbers)
  elif isinstance(value, list):
    for process, one in enumerate(value):
      tf.summary.scalar(f"{tag} {process}", one)
  else:
    tf.summary.scalar(tag, value)


def keep_until(path: str, step: int) -> list[dict]:
  """Takes the lines after `step` out of a metrics.jsonl: a resumed run says them again.

  A last line that was cut short goes too.

  Returns:
    What the others hold, a list of {name: value}.
  """
  if not os.path.exists(path):
    return []
  with open(path, encoding="utf-8", errors="replace") as file:
    lines = file.readlines()
  kept = [(line, row) for line in lines if (row := _row(line)) and row["step"] <= step]
  if len(kept) < len(lines):
    with files.replacing(path) as file:
      file.write("".join(line for line, _ in kept).encode())
  return [row for _, row in kept]


def _row(line):
  with contextlib.suppress(ValueError):
    row = json.loads(line)
    if isinstance(row, dict) and isinstance(row.get("step"), int):
      return row
  return None
