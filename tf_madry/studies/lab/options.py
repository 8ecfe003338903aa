"""What studies are made with: every option in one place, with its defaults."""

import dataclasses
import math
from typing import Any

from tf_madry.errors import require
from tf_madry.recipes import RECIPES
from tf_madry.runtime import devices
from tf_madry.settings import TrainingConfig

STEPS = 60_000  # of the paper's networks (§6)
BATCH_SIZE = TrainingConfig().batch_size  # §6, at every scale
MOST_IMAGES = 10_000  # of the test set

# Below full size the paper's own settings do not get off the ground: a constant rate of 1e-4 from
# weights of deviation 0.1 takes thousands of steps to find anything against ε = 0.3.
QUICK = RECIPES["quick"]
BELOW_FULL_SIZE = {name: QUICK[name] for name in ("initialization", "schedule", "ramp")}


def _option(default: Any, help_text: str) -> Any:
  return dataclasses.field(default=default, metadata={"help": help_text})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """The options of all studies; those that are None follow from `scale`, see `fill`.

  The help of a field is that of its flag, and says the default.

  Raises:
    UserError: a value is out of range.
  """

  scale: float = _option(0.1, "size: 1 for the paper's 60,000 steps (0.1)")
  seed: int = _option(0, "of training and evaluation (0)")
  precision: str | None = _option(
    None, "of training, float32 or bfloat16 (float32 at the paper's size, below it what is "
          "quicker here)")
  k_list: tuple[int, ...] | None = _option(
    None, "attackers' power κ, of training and of the attack (1,4,8,128; below the paper's size "
          "1,2,4,8,32)")
  s_list: tuple[int, ...] | None = _option(
    None, "staleness, 0 being always one (0 and 1 to 1024 in powers of two; below the paper's "
          "size 0,16,32,48,64,128)")
  rates: tuple[float, ...] | None = _option(
    None, "learning rates: the first for everything, the others to see where staleness breaks "
          "training "
    "(1e-4,4e-4; below the paper's size 1e-3,2.5e-4)")
  r_list: tuple[int, ...] = _option(
    (1, 10, 32, 64, 100, 200), "steps between renewals of the weights that craft, of `reload` "
                               "(1,10,32,64,100,200)")
  constant_rates: tuple[float, ...] = _option(
    (1e-4, 3e-4, 1e-3), "learning rates at which `takeoff` goes on with a robust network "
                        "(1e-4,3e-4,1e-3)")
  seeds: int = _option(2, "how many seeds `takeoff` goes on with (2)")
  long: float | None = _option(
    None, "times its steps that the long run of `cycles` takes, 0 for none (5; below the paper's "
          "size 0)")
  slice: int = _option(100, "training steps by which `headline` extrapolates what it does not run "
                            "to the end (100)")
  headline_n: int = _option(1_000, "test images that `headline` attacks, up to 10,000 (1,000)")
  runs: tuple[str, ...] = _option(
    (), "model directories of runs that are done, which `headline` attacks as well (none)")
  repeats: int = _option(5, "how often `speedup` measures each number of workers (5)")
  t_adv: float | None = _option(None, "seconds to craft a batch, for the simulation in `speedup` "
                                      "(measured)")
  t_train: float | None = _option(None, "seconds to train on one (measured)")

  def __post_init__(self) -> None:
    require(0 < self.scale <= 1, "scale", self.scale,
            "a number above 0, up to 1 for the paper's size")
    require((self.t_adv is None) == (self.t_train is None), "t_train", self.t_train,
            "a number of seconds where t_adv is given, and none where it is not")
    for name, least in (("k_list", 1), ("s_list", 0), ("r_list", 1)):
      _require_each_once(name, getattr(self, name), lambda value, least=least: value >= least,
                         f"numbers from {least}")
    for name in ("rates", "constant_rates"):
      _require_each_once(name, getattr(self, name), lambda value: 0 < value < math.inf,
                         "numbers above 0")
    require(self.long is None or self.long == 0 or 1 < self.long < math.inf, "long", self.long,
            "a number above 1, or 0 for none")
    for name in ("slice", "seeds", "repeats"):
      require(getattr(self, name) >= 1, name, getattr(self, name), "a whole number, at least 1")
    require(1 <= self.headline_n <= MOST_IMAGES, "headline_n", self.headline_n,
            f"a number of test images, from 1 to {MOST_IMAGES:,}")

  @property
  def full(self) -> bool:
    """Whether this is the paper's size."""
    return self.scale == 1

  @property
  def steps(self) -> int:
    """Training steps of a network."""
    return max(1, round(self.scale * STEPS))

  @property
  def learning_rate(self) -> float:
    """That of networks that are not trained to find where staleness breaks training."""
    return self.rates[0]

  def settings(self, names: tuple[str, ...]) -> dict[str, Any]:
    """The settings that a study is kept with, as JSON has them.

    They are those of all studies, and the options that this one names.
    """
    values = {name: getattr(self, name) for name in ("scale", "seed", "precision", *names)}
    values = {name: list(value) if isinstance(value, tuple) else value
              for name, value in values.items()}
    return values | {"batch_size": BATCH_SIZE}


def _require_each_once(name, values, good, accepted):
  require(values is None or (values and all(map(good, values)) and len(set(values)) == len(values)),
          name, values,
          f"{accepted}, each once")


def fill(**given: Any) -> Options:
  """`Options` with every value.

  What is not given (or None) is the paper's or, below scale 1, something smaller.

  Raises:
    UserError: a value is out of range.
  """
  chosen = Options(**{name: value for name, value in given.items() if value is not None})
  if chosen.full:
    defaults = {"precision": "float32", "k_list": (1, 4, 8, 128),
                "s_list": (0, *(2**n for n in range(11))),
                "rates": (1e-4, 4e-4), "long": 5.0}
  else:
    defaults = {"precision": devices.fast_precision(), "k_list": (1, 2, 4, 8, 32),
                "s_list": (0, 16, 32, 48, 64, 128),
                "rates": (QUICK["learning_rate"], 2.5e-4), "long": 0.0}
  filled = dataclasses.replace(
    chosen, **{name: value for name, value in defaults.items() if getattr(chosen, name) is None})
  return dataclasses.replace(
    filled, k_list=tuple(sorted(filled.k_list)), s_list=tuple(sorted({0, *filled.s_list})),
    r_list=tuple(sorted({1, *filled.r_list})), constant_rates=tuple(sorted(filled.constant_rates)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
  """How large networks' batches and measurements are, at every scale; tests have smaller ones."""

  batch_size: int = BATCH_SIZE
  points: int = 12  # looks at a network during training, 30 at the paper's size
  # Steps between looks at perturbations: an eighth of the staleness at which the paper sees cycles.
  frame_every: int = 8
  curve_n: int = 1_000  # images of a look
  final_n: int = MOST_IMAGES  # images after training, under PGD up to κ = 32
  strongest_n: int = 2_000  # and above: κ = 128 takes as long for these as κ = 32 for 8,000

  def after_training(self, k: int) -> int:
    """Images that an accuracy under PGD of power κ = k is measured on."""
    return self.final_n if k <= 32 else self.strongest_n


def batch_size(settings: dict[str, Any]) -> int:
  """Of the networks of a study with these settings."""
  # Until it was 128 at every scale, it was 16 below the paper's, and no setting of a study.
  return settings.get("batch_size", BATCH_SIZE if settings["scale"] == 1 else 16)
