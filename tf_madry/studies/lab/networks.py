"""Where studies get their networks and measurements: trained or measured once, and kept in the output folder."""

import base64
import dataclasses
import functools
import json
import os

import numpy as np

from tf_madry import checkpoints, config, datasets
from tf_madry.attacks.pgd import PGD
from tf_madry.errors import UserError, require
from tf_madry.evaluation import accuracy
from tf_madry.models import loading
from tf_madry.runtime import devices
from tf_madry.studies.lab import cache, machines, recording
from tf_madry.training import loop
from tf_madry.training import staleness as simulated
from tf_madry.training.progress import METRICS
from tf_madry.training.synchronous import Synchronous

STEPS = 60_000  # the paper's (§6)
MADE = "made.json"  # in a network's folder: what is known of its training besides what every run records

# Below full size the paper's own settings do not get off the ground: a constant rate of 1e-4 from weights of deviation
# 0.1 takes thousands of steps to find anything against ε = 0.3.
QUICK = {"initialization": "he", "schedule": "linear", "ramp": 0.1}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """What is studied; a value that is not given follows from `scale`, see `options`."""

  scale: float = 0.1  # of the number of steps, 1 for the paper's 60,000
  seed: int = 0
  precision: str | None = None  # of training
  k_list: tuple | None = None  # attackers' power κ, to train with and to attack with
  s_list: tuple | None = None  # staleness; 0, plain training, is always among them
  rates: tuple | None = None  # learning rates; every s_list is trained with the first, others look for the break
  long: float | None = None  # times the steps of the others that the long run takes (Figure 7: 5), 0 for none
  r_list: tuple = (1, 10, 32, 64, 100, 200)  # steps between renewals of the weights that craft; 1, plain, always is one
  constant_rates: tuple = (1e-4, 3e-4, 1e-3)  # of the steps that `takeoff` adds to a robust network
  seeds: int = 2  # of those steps
  slice: int = 100  # training steps by which `headline` extrapolates, of recipes that it does not run to their end
  headline_n: int = 1_000  # test images that it attacks: the suite takes some seconds for each
  t_adv: float | None = None  # seconds to craft a batch; None: measured
  t_train: float | None = None  # seconds to train on one; None: measured

  def __post_init__(self):
    require(0 < self.scale <= 1, "scale", self.scale, "a number above 0, up to 1 for the paper's size")
    require((self.t_adv is None) == (self.t_train is None), "t_train", self.t_train,
            "a number of seconds where t_adv is given, and none where it is not")
    for name, good, accepted in (("k_list", lambda value: value >= 1, "numbers from 1"),
                                 ("s_list", lambda value: value >= 0, "numbers from 0"),
                                 ("r_list", lambda value: value >= 1, "numbers from 1"),
                                 ("rates", lambda value: 0 < value < float("inf"), "numbers above 0"),
                                 ("constant_rates", lambda value: 0 < value < float("inf"), "numbers above 0")):
      values = getattr(self, name)
      require(values is None or (values and all(map(good, values)) and len(set(values)) == len(values)), name, values,
              f"{accepted}, each once")
    require(self.long is None or self.long == 0 or 1 < self.long < float("inf"), "long", self.long,
            "a number above 1, or 0 for none")
    require(self.seeds >= 1, "seeds", self.seeds, "a whole number, at least 1")
    require(self.slice >= 1, "slice", self.slice, "a whole number of steps, at least 1")
    require(1 <= self.headline_n <= 10_000, "headline_n", self.headline_n, "a number of test images, from 1 to 10,000")

  @property
  def full(self):
    """Whether this is the paper's size."""
    return self.scale == 1

  @property
  def learning_rate(self):
    """That of networks that are not trained to find where staleness breaks training."""
    return self.rates[0]


def options(**given):
  """`Options` with every value filled in: what is given (None: is not), else the paper's or, below scale 1, a smaller one.

  Raises:
    UserError: a value out of range.
  """
  chosen = Options(**{name: value for name, value in given.items() if value is not None})
  if chosen.full:
    defaults = {"precision": "float32", "k_list": (1, 4, 8, 128), "s_list": (0, *(2**n for n in range(11))),
                "rates": (1e-4, 4e-4), "long": 5.0}
  else:
    defaults = {"precision": devices.fast_precision(), "k_list": (1, 2, 4, 8, 32), "s_list": (0, 16, 32, 48, 64, 128),
                "rates": (1e-3, 2.5e-4), "long": 0.0}
  filled = dataclasses.replace(
    chosen, **{name: value for name, value in defaults.items() if getattr(chosen, name) is None})
  return dataclasses.replace(filled, k_list=tuple(sorted(filled.k_list)), s_list=tuple(sorted({0, *filled.s_list})),
                             r_list=tuple(sorted({1, *filled.r_list})), constant_rates=tuple(sorted(filled.constant_rates)))


def batch_size(settings):
  """Of the networks of a study with these settings."""
  # Until it was 128 at every scale, it was 16 below the paper's, and no setting of a study.
  return settings.get("batch_size", 128 if settings["scale"] == 1 else 16)


def size(settings):
  """A study's settings as a sentence on how long its networks are trained."""
  steps, batch = max(1, round(settings["scale"] * STEPS)), batch_size(settings)
  return (f"Networks are trained for {steps:,} steps of batch {batch}, on {steps * batch:,} examples (paper: {STEPS:,} "
          "steps of batch 128).")


@dataclasses.dataclass(frozen=True)
class Network:
  """A network that has been trained."""

  config: config.Config

  @property
  def steps(self):
    """How many it was trained for."""
    return self.config.training.steps

  @functools.cached_property
  def rows(self):
    """Its lines of metrics.jsonl, of training alone."""
    return [row for row in self._metrics() if row["split"] == "train"]

  @functools.cached_property
  def validation(self):
    """Its lines of metrics.jsonl, of evaluations on the validation split."""
    return [row for row in self._metrics() if row["split"] == "validation"]

  def _metrics(self):
    path = os.path.join(self.config.run.model_dir, METRICS)
    try:
      with open(path, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
      whole = ("train", self.steps) in {(row["split"], row["step"]) for row in rows}
    except OSError as error:
      raise UserError(f"{path!r} cannot be read: {error.strerror}; remove its folder, or choose another --out") from error
    except (ValueError, LookupError, TypeError):
      whole = False
    if not whole:
      raise UserError(f"{path!r} is damaged: it does not tell of all {self.steps:,} steps; remove its folder, or choose "
                      "another --out")
    return rows

  @functools.cached_property
  def made(self):
    """{"machine": where it was trained, "validation": {setting: value} of the attack during training}, as recorded.

    Networks that were trained before this was recorded were validated with the attack that they were trained against.
    """
    path = os.path.join(self.config.run.model_dir, MADE)
    return cache.read(path) if os.path.exists(path) else {
      "machine": None, "validation": dataclasses.asdict(self.config.attack)}

  @property
  def seconds(self):
    """Time that its training steps took: their number times the median time of one, compiling left out."""
    speeds = [row["examples_per_second"] for row in self.rows if row["examples_per_second"]]
    return self.steps * self.config.training.batch_size / float(np.median(speeds)) if speeds else None

  @functools.cached_property
  def frames(self):
    """`recording.Recorder`'s perturbations of the watched examples, float32 in units of ε."""
    return checkpoints.read_newest(self.config.run.model_dir).arrays["frames"].astype(np.float32) / recording.LEVELS


class Lab:
  """Trains and measures, unless that has been done.

  Args:
    out: the output folder.
    options: `Options`, filled in.

  Attributes:
    options: as given.
    curve_n: test or training examples that an accuracy during training is measured on.
    seconds: time that all trainings and evaluations asked for took when they were done, be it now or earlier.
    machines: where that was, each once; None among them where it was not recorded.
  """

  def __init__(self, out, options):
    self.options, self._out, self._models, self._counted = options, out, {}, set()
    self.curve_n = 1_000
    self.seconds, self.machines = 0.0, []
    self._data = None

  @property
  def data(self):
    """The `datasets.Dataset`."""
    self._data = self._data or datasets.load()
    return self._data

  @property
  def steps(self):
    """Training steps of a network."""
    return max(1, round(self.options.scale * STEPS))

  def points(self, steps):
    """Steps at which networks without staleness are looked at during training."""
    count = 30 if self.options.full else 12
    return sorted({max(1, round(steps * (number + 1) / count)) for number in range(count)})

  @staticmethod
  def final_n(k):
    """Test examples that an accuracy after training is measured on, under PGD of power k."""
    return 10_000 if k <= 32 else 2_000

  def network(self, *, k=8, staleness=0, reload=0, learning_rate=None, times=1.0):
    """Trains a network, or finds it trained.

    Args:
      k: power of the attack it is trained against.
      staleness: s, see `training.staleness`.
      reload: R, see there; 0 for off.
      learning_rate: None: the first of the options'.
      times: the steps of the other networks that it takes.

    Raises:
      UserError: the output folder cannot be used.
      loop.Stopped: as from `loop.train`; it goes on from there the next time.
    """
    steps = max(1, round(times * self.steps))
    rate = self.options.learning_rate if learning_rate is None else learning_rate
    values = {"k": k, "staleness": staleness, "staleness_reload": reload, "learning_rate": rate, "steps": steps,
              "seed": self.options.seed, "precision": self.options.precision} | ({} if self.options.full else QUICK)
    run = {"log_every": max(1, steps // 60), "eval_every": 0, "summary_every": steps,
           "checkpoint_every": 300 if self.options.full else 100, "keep": 1}
    return self.trained(values, run, functools.partial(recording.Recorder, points=self.points(steps)))

  def continued(self, network, *, steps, learning_rate, seed, staleness=0):
    """Trains a copy of a network for more steps at a constant rate, or finds it trained; errors as in `network`.

    Adam begins anew, with averages of 0. Batches and random starts are those of `seed`.
    """
    values = {"k": network.config.attack.k, "staleness": staleness, "learning_rate": learning_rate, "steps": steps,
              "seed": seed, "precision": self.options.precision}
    run = {"log_every": max(1, steps // 40), "eval_every": 0, "summary_every": steps, "checkpoint_every": 300, "keep": 1}

    def make_stepper(learner, batches):
      found = checkpoints.read_newest(network.config.run.model_dir)
      checkpoints.restore(checkpoints.variables_of(learner.trained, "model"), found)
      return simulated.stepper(learner, batches)

    return self.trained(values, run, make_stepper, begins_as=network)

  def trained(self, values, run, make_stepper=Synchronous, begins_as=None):
    """Trains a network by settings of `config`, or finds it trained; errors as in `network`.

    Args:
      values: {name: value} of the experiment.
      run: {name: value} of what does not change it, see `config.RunConfig`.
      make_stepper: as for `loop.train`.
      begins_as: the `Network` whose weights `make_stepper` gives it to begin with; None: random ones.
    """
    identity = config.resolve(values)[0]
    begin = {"begins_as": self.name(begins_as)} if begins_as else {}
    name = _name(identity, begin)
    if self.options.full and make_stepper is Synchronous:
      name += "-plain"  # at the paper's size another study has a network of these settings that takes notes
    network = Network(config.resolve(values | run | {"model_dir": os.path.join(self._out, "runs", name)})[0])
    if not self._is_trained(network):
      attack, settings = network.config.attack, network.config.training
      print(f"network {name}: recipe {settings.recipe}, κ = {attack.k}, s = {settings.staleness}, R = "
            f"{settings.staleness_reload}, rate {settings.learning_rate:g}, seed {settings.seed}, {settings.steps:,} steps",
            flush=True)
      made = os.path.join(network.config.run.model_dir, MADE)
      if not os.path.exists(made):
        cache.prepare(network.config.run.model_dir)
        cache.write(made, {"machine": machines.here(), "validation": dataclasses.asdict(network.config.evaluation_attack)} | begin)
      loop.train(network.config, make_stepper=make_stepper)
    if name not in self._counted:
      self._counted.add(name)
      self.seconds += network.rows[-1]["time"]
    self._note(network.made["machine"])
    return network

  def _is_trained(self, network):
    model_dir = network.config.run.model_dir
    if checkpoints.list_paths(model_dir)[:1] != [checkpoints.path_of(model_dir, network.steps)]:
      return False
    theirs = config.Config.from_values(config.read_file(os.path.join(model_dir, "config.json"))[0]).values()
    ours = network.config.experiment()
    other = [name for name in ours if theirs[name] != ours[name]]
    if other:
      raise UserError(f"{model_dir!r} holds a network with {other[0]} {theirs[other[0]]!r}, not {ours[other[0]]!r} as its "
                      "name says; remove it, or choose another --out")
    # The last validation comes after the last checkpoint; a run may have been stopped in between.
    return not network.config.run.eval_every or network.steps in [row["step"] for row in Network(network.config).validation]

  def accuracy(self, network, k, *, split="test", n=None, step=None, source=None):
    """Measures a network under PGD of power k, with the paper's settings, or finds it measured.

    Args:
      network: `Network`.
      k: the attack's power; its ε, α and random start are those of training (§6).
      split: name in `datasets.Dataset`.
      n: how many of its examples, spread over it; None: `final_n`.
      step: of the snapshot to measure; None: the network as it ended.
      source: the `Network` to craft on; None: the same one (white-box).

    Returns:
      The fields of `accuracy.Result`, `k`, and `right`: the outcome of each example, see `unpack_right`.
    """
    attack = PGD(k=k)
    key = {"of": self.name(network), "step": step, "source": source and self.name(source), "attack": repr(attack),
           "split": split, "n": n or self.final_n(k), "examples": "spread", "seed": self.options.seed}

    def compute():
      model = self._model("target", network, step)
      crafted_on = self._model("source", source) if source else None
      examples = spread(getattr(self.data, split), key["n"])
      right = np.zeros(len(examples), bool)
      result = accuracy.evaluate(model, attack, examples, source=crafted_on, seed=self.options.seed, right=right)
      return dataclasses.asdict(result) | {"k": k, "right": pack_right(right)}

    result = self.remember(key, compute)
    if cache.digest(key) not in self._counted:
      self._counted.add(cache.digest(key))
      self.seconds += result["seconds"]
    return result

  def name(self, network):
    """What decides it, as a short name."""
    return os.path.basename(network.config.run.model_dir)

  def _model(self, role, network, step=None):
    # One Keras model for all networks in a role: what was compiled for it serves again.
    folder = network.config.run.model_dir
    if step is not None:
      folder = checkpoints.path_of(os.path.join(folder, recording.SNAPSHOTS), step)
    model, held = self._models.get(role, (None, None))
    if held != folder:
      fresh = loading.load_model(folder).model
      if model is None:
        model = fresh
      else:
        model.set_weights(fresh.get_weights())
      self._models[role] = model, folder
    return model

  def remember(self, key, compute):
    """The value of `cache.remember`, in this lab's folder."""
    value, machine = cache.remember(self._out, key, compute)
    self._note(machine)
    return value

  def _note(self, machine):
    if machine not in self.machines:
      self.machines.append(machine)


def _name(identity, begin):
  """The short name of a network's settings. Those at their default do not count: a setting yet to come changes no name.

  Args:
    identity: `config.Config`.
    begin: {"begins_as": name of another network}, or {}.
  """
  default = config.Config().values()
  told = {name: value for name, value in identity.experiment().items() if value != default[name]}
  return cache.digest(told | {"steps": identity.training.steps} | begin)


def spread_indices(available, n):
  """The numbers of n of so many examples, evenly spread over them: int64 [n]."""
  return np.arange(n) * available // n


def spread(split, n):
  """A `datasets.Split` of n examples of another, evenly spread over it."""
  require(n <= len(split), "n", n, f"up to {len(split):,}, the examples that there are")
  indices = spread_indices(len(split), n)
  return datasets.Split(split.images[indices], split.labels[indices])


def pack_right(right):
  """Outcomes, bool [n], as text: eight in a byte, in base64."""
  return base64.b64encode(np.packbits(right).tobytes()).decode()


def unpack_right(text, n):
  """The outcomes that `pack_right` packed: bool [n]."""
  return np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8), count=n).astype(bool)
