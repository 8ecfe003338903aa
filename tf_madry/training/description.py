"""What a run will do, in words."""

from collections.abc import Iterator

from tf_madry.config import Config
from tf_madry.runtime import devices

SLOW = ("paper", "challenge")  # recipes that take hours without a GPU


def describe(config: Config, start: int = 0) -> Iterator[str]:
  """Lines that say what a run will do from step `start` on."""
  training = config.training
  peak = " at its peak" if training.schedule != "constant" else ""
  yield (f"recipe {training.recipe} on {training.dataset}: {training.steps:,} steps of batch "
         f"{training.batch_size}, Adam {_rate(training)}{peak}, seed {training.seed}, "
         f"{training.precision}, against {_opponent(config)}")
  yield (f"writing to {config.run.model_dir}, a checkpoint every "
         f"{config.run.checkpoint_every:,} steps")
  if start:
    yield f"resuming from step {start:,}"
  elif training.recipe in SLOW and not devices.has_gpu():
    yield "on a CPU, `python train.py --recipe fast` makes a robust model in minutes"


def _rate(training):
  scale = training.rate_scale
  if scale == 1:
    return f"{training.learning_rate:g}"
  grows = f", from which it grows over {training.warmup:.0%} of the steps" if training.warmup else ""
  return (f"{scale * training.learning_rate:.3g} ({scale:.3g} times that of batches of "
          f"{training.base_batch}{grows})")


def _opponent(config):
  training, attack = config.training, config.attack
  if training.replay:
    words = (f"ε = {attack.epsilon:g}: κ = {attack.k}, α = {attack.step_size:.4g}, of which the last "
             f"{max(1, attack.k - training.lead)} update the weights, perturbations carried from "
             "epoch to epoch")
  elif training.bounds:
    words = f"all that interval bounds allow within ε = {attack.epsilon:g}"
  elif training.adversarial:
    words = (f"PGD κ = {attack.k}, α = {attack.step_size:.4g}, ε = {attack.epsilon:g}, "
             f"loss {attack.loss}, {'random start' if attack.random_start else 'no random start'}")
  else:
    words = "nothing"
  if training.candidates > 1:
    words += f", the hardest {training.batch_size} of {training.drawn} examples a step"
  if training.shift:
    words += f", images moved by up to {training.shift} pixels"
  return words + (f", in a ball of {training.margin:g} ε" if training.margin != 1 else "")
