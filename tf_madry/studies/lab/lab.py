"""Where studies get their networks and measurements.

Each is trained or measured once, and kept in the output folder.
"""

import dataclasses
import functools
import os
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from tf_madry import checkpoints, config, datasets
from tf_madry.attacks.pgd import PGD
from tf_madry.evaluation import accuracy
from tf_madry.models import loading
from tf_madry.studies.lab import cache, machines, packing, recorder
from tf_madry.studies.lab.network import MADE, Network
from tf_madry.studies.lab.options import BELOW_FULL_SIZE, Options, Sizes
from tf_madry.training import loop, staleness
from tf_madry.training.synchronous import Synchronous

FULL_POINTS = 30  # looks at a network during training at the paper's size


class Lab:
  """Trains and measures, unless that has been done.

  Args:
    out: the output folder.
    options: with every value, see `options.fill`.
    sizes: of batches and measurements.

  Attributes:
    options, sizes: as given.
    seconds: time that all trainings and evaluations asked for took when they were done, be it now
      or earlier.
    machines: where that was, each once; None among them where it was not recorded.
  """

  def __init__(self, out: str, options: Options,
               sizes: Sizes = Sizes()) -> None:  # noqa: B008 (frozen)
    self.options, self.sizes, self._out = options, sizes, out
    self._models, self._counted = {}, set()
    self.seconds, self.machines = 0.0, []

  @functools.cached_property
  def data(self) -> datasets.Dataset:
    """MNIST."""
    return datasets.load()

  def points(self, steps: int) -> list[int]:
    """Steps at which networks without staleness are looked at during training."""
    count = FULL_POINTS if self.options.full else self.sizes.points
    return sorted({max(1, round(steps * (number + 1) / count)) for number in range(count)})

  def network(self, *, k: int = 8, s: int = 0, reload: int = 0, learning_rate: float | None = None,
              times: float = 1.0) -> Network:
    """Trains a network, or finds it trained.

    Args:
      k: κ, the power of the attack it is trained against.
      s: staleness, see `training.staleness`.
      reload: R, steps between renewals of the weights that craft, see there; 0 for off.
      learning_rate: None: the first of the options'.
      times: the steps of the other networks that it takes.

    Raises:
      UserError: the output folder cannot be used.
      loop.Stopped: as from `loop.train`; it goes on from there the next time.
    """
    steps = max(1, round(times * self.options.steps))
    rate = self.options.learning_rate if learning_rate is None else learning_rate
    values = {"k": k, "staleness": s, "staleness_reload": reload, "learning_rate": rate,
              "steps": steps,
              "batch_size": self.sizes.batch_size, "seed": self.options.seed,
              "precision": self.options.precision}
    values |= {} if self.options.full else BELOW_FULL_SIZE
    run = {"log_every": max(1, steps // 60), "eval_every": 0, "summary_every": steps,
           "checkpoint_every": 300 if self.options.full else 100, "keep": 1}
    return self.trained(values, run, functools.partial(
      recorder.Recorder, points=self.points(steps), frame_every=self.sizes.frame_every))

  def continued(self, network: Network, *, steps: int, learning_rate: float, seed: int,
                s: int = 0) -> Network:
    """Trains a copy of a network for more steps at a constant rate, or finds it trained.

    Adam begins anew, with averages of 0. Batches and random starts are those of `seed`. Errors are
    as in `network`.
    """
    values = {"k": network.config.attack.k, "staleness": s, "learning_rate": learning_rate,
              "steps": steps,
              "batch_size": self.sizes.batch_size, "seed": seed,
              "precision": self.options.precision}
    run = {"log_every": max(1, steps // 40), "eval_every": 0, "summary_every": steps,
           "checkpoint_every": 300, "keep": 1}

    def begin(learner, batches):
      newest = checkpoints.read_newest(network.folder)
      checkpoints.restore(checkpoints.variables_of(learner.trained, "model"), newest)
      return staleness.stepper(learner, batches)

    return self.trained(values, run, begin, begins_as=network)

  def trained(self, values: dict[str, Any], run: dict[str, Any],
              make_stepper: Callable = Synchronous,
              begins_as: Network | None = None) -> Network:
    """Trains a network by settings of `config`, or finds it trained; errors as in `network`.

    Args:
      values: {name: value} of the experiment.
      run: {name: value} of what does not change it, see `settings.RunConfig`.
      make_stepper: as for `loop.train`.
      begins_as: the network whose weights `make_stepper` gives it to begin with; None: random ones.
    """
    identity = config.resolve(values)[0]
    begin = {"begins_as": begins_as.name} if begins_as else {}
    name = _name(identity, begin)
    if self.options.full and make_stepper is Synchronous:
      # At the paper's size another study has a network of these settings that takes notes.
      name += "-plain"
    folder = os.path.join(self._out, "runs", name)
    network = Network(config.resolve(values | run | {"model_dir": folder})[0])
    if not network.is_trained:
      print(_description(network), flush=True)
      made = os.path.join(folder, MADE)
      if not os.path.exists(made):
        cache.prepare(folder)
        cache.write(made, {"machine": machines.here(),
                           "validation": dataclasses.asdict(network.config.evaluation_attack)}
                    | begin)
      loop.train(network.config, make_stepper=make_stepper)
    self._count(name, network.rows[-1]["time"])
    self._note(network.made["machine"])
    return network

  def accuracy(self, network: Network, k: int, *, split: str = "test", n: int | None = None,
               step: int | None = None,
               source: Network | None = None) -> dict[str, Any]:
    """Measures a network under PGD of power κ = k, with the paper's settings, or finds it measured.

    Args:
      network: to measure.
      k: the attack's power; its ε, α and random start are those of training (§6).
      split: name in `datasets.Dataset`.
      n: how many of its examples, spread over it; None: as `Sizes.after_training` says.
      step: of the snapshot to measure; None: the network as it ended.
      source: the network to craft on; None: the same one (white-box).

    Returns:
      The fields of `accuracy.Result`, `k`, and `right`: the outcome of each example, see
      `packing.pack_bits`.
    """
    attack = PGD(k=k)
    key = {"of": network.name, "step": step, "source": source and source.name,
           "attack": repr(attack), "split": split,
           "n": n or self.sizes.after_training(k), "examples": "spread", "seed": self.options.seed}

    def compute():
      target = self._model("target", network, step)
      crafted_on = self._model("source", source) if source else None
      examples = getattr(self.data, split).spread(key["n"])
      right = np.zeros(len(examples), bool)
      result = accuracy.evaluate(target, attack, examples, source=crafted_on,
                                 seed=self.options.seed, right=right)
      return dataclasses.asdict(result) | {"k": k, "right": packing.pack_bits(right)}

    result = self.remember(key, compute)
    self._count(cache.digest(key), result["seconds"])
    return result

  def _model(self, role: str, network: Network, step: int | None = None) -> keras.Model:
    # One Keras model for all networks in a role: what was compiled for it serves again.
    path = network.folder if step is None else recorder.snapshot(network.folder, step)
    model, held = self._models.get(role, (None, None))
    if held != path:
      fresh = loading.load_model(path).model
      if model is None:
        model = fresh
      else:
        model.set_weights(fresh.get_weights())
      self._models[role] = model, path
    return model

  def remember(self, key: Any, compute: Callable[[], Any]) -> Any:
    """The value of `cache.remember`, in this lab's folder."""
    value, machine = cache.remember(self._out, key, compute)
    self._note(machine)
    return value

  def _count(self, name, seconds):
    if name not in self._counted:
      self._counted.add(name)
      self.seconds += seconds

  def _note(self, machine):
    if machine not in self.machines:
      self.machines.append(machine)


def final_row(result: dict[str, Any]) -> dict[str, Any]:
  """What a study keeps of an accuracy after training: numbers, with the outcome of each image."""
  low, high = result["adversarial_interval"]
  return {"n": result["n"], "natural_accuracy": result["natural_accuracy"],
          "adversarial_accuracy": result["adversarial_accuracy"], "low": low, "high": high,
          "right": result["right"]}


def _name(identity, begin):
  """The short name of a network's settings.

  Those at their default do not count: a setting yet to come changes no name.
  """
  default = config.Config().values()
  told = {name: value for name, value in identity.experiment().items() if value != default[name]}
  return cache.digest(told | {"steps": identity.training.steps} | begin)


def _description(network):
  attack, training = network.config.attack, network.config.training
  return (f"network {network.name}: recipe {training.recipe}, κ = {attack.k}, s = "
          f"{training.staleness}, R = {training.staleness_reload}, rate "
          f"{training.learning_rate:g}, seed {training.seed}, {training.steps:,} steps")
