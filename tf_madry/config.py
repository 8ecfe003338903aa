"""What a run is: its settings, from flags, a recipe and a JSON file, and back to JSON."""

import dataclasses
import json
import os
import types
import typing

from tf_madry.errors import UserError, require
from tf_madry.recipes import RECIPES, PartOfEpsilon
from tf_madry.settings import (
  AsyncConfig,
  AttackConfig,
  DistributionConfig,
  RunConfig,
  TrainingConfig,
)

# The challenge's config.json, key by key; None: known there, but of no use to training here.
CHALLENGE_KEYS = {
    "model_dir": "model_dir", "random_seed": "seed", "max_num_training_steps": "steps",
    "num_output_steps": "log_every", "num_summary_steps": "summary_every",
    "num_checkpoint_steps": "checkpoint_every", "training_batch_size": "batch_size",
    "epsilon": "epsilon", "k": "k", "a": "alpha", "random_start": "random_start",
    "loss_func": "loss", "num_eval_examples": None, "eval_batch_size": None, "eval_on_cpu": None,
    "store_adv_path": None, "_comment": None,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  """A whole run. Outside of Python it is flat: every field of its parts has a name of its own."""

  attack: AttackConfig = dataclasses.field(default_factory=AttackConfig)
  training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
  run: RunConfig = dataclasses.field(default_factory=RunConfig)
  distribution: DistributionConfig = dataclasses.field(default_factory=DistributionConfig)
  asynchronous: AsyncConfig = dataclasses.field(default_factory=AsyncConfig)

  def __post_init__(self):
    require(not self.training.replay or self.attack.loss == "xent", "loss", self.attack.loss,
            "xent in a recipe that replays its batches: one gradient serves attack and training")
    require(not self.training.bounds or self.attack.epsilon < 0.5, "epsilon", self.attack.epsilon,
            "below 0.5 in a recipe that trains on interval bounds: from there on every pixel can "
            "be any")
    stale = self.training.staleness or self.training.staleness_reload
    for unsplit, why in ((self.training.replay, "in a recipe that replays its batches: what it "
                          "carries from epoch to epoch is on one device"),
                         (stale, "with a staleness, which is simulated on one device")):
      require(not unsplit or self.distribution.strategy == "none", "strategy",
              self.distribution.strategy, f"none {why}")

  @property
  def evaluation_attack(self) -> AttackConfig:
    """What a run is evaluated with unless something else is asked for: what it trains against.

    Of a recipe that replays its batches, whose κ and α are no attack from a fresh start, only ε is
    taken; the rest is the paper's (§6).
    """
    return AttackConfig(epsilon=self.attack.epsilon) if self.training.replay else self.attack

  def has_line(self, step: int) -> bool:
    """Whether there is a line of progress and of metrics.jsonl after that many steps."""
    return step % self.run.log_every == 0 or step == self.training.steps

  def logs_after(self, step: int) -> bool:
    """Whether anything is logged after that many steps."""
    return self.has_line(step) or step % self.run.summary_every == 0

  @classmethod
  def from_values(cls, values: dict) -> "Config":
    """Builds a config from flat {name: value}; names that are missing take the paper's value.

    Raises:
      UserError: a name that there is not, a value of the wrong type, or one out of range.
    """
    unknown = sorted(set(values) - set(FIELDS))
    require(not unknown, "setting", ", ".join(unknown), ", ".join(FIELDS))
    parts = {part: {} for part in PARTS}
    for name, value in values.items():
      part, type_ = FIELDS[name]
      parts[part][name] = _typed(name, value, type_)
    config = cls(**{part: PARTS[part](**given) for part, given in parts.items()})
    if config.run.model_dir:
      return config
    model_dir = os.path.join("models", config.training.recipe)
    return dataclasses.replace(config, run=dataclasses.replace(config.run, model_dir=model_dir))

  def values(self) -> dict:
    """Flat {name: value}, the inverse of `from_values`."""
    return {name: value for part in PARTS
            for name, value in dataclasses.asdict(getattr(self, part)).items()}

  def experiment(self) -> dict:
    """The settings that decide the weights after a given number of steps, flat.

    `steps` is not one of them where nothing follows a schedule: such a run may be made longer.
    `recipe` is only the name of a set of them. Which devices there are, and who crafts how much, is
    no setting of the experiment either: it has to fit the machine.
    """
    free = {"recipe", *(name for part in (self.run, self.distribution, self.asynchronous)
                        for name in dataclasses.asdict(part))}
    training = self.training
    if training.schedule == "constant" and not training.ramp and not training.warmup:
      free.add("steps")
    return {name: value for name, value in self.values().items() if name not in free}


PARTS = {"attack": AttackConfig, "training": TrainingConfig, "run": RunConfig,
         "distribution": DistributionConfig, "asynchronous": AsyncConfig}
METHOD = {field.name for field in dataclasses.fields(TrainingConfig) if "method" in field.metadata}
FIELDS = {field.name: (part, typing.get_type_hints(cls)[field.name])
          for part, cls in PARTS.items() for field in dataclasses.fields(cls)}


def resolve(flags: dict, recipe: str | None = None,
            path: str | None = None) -> tuple[Config, list[str]]:
  """The effective config: what `flags` say, else the recipe, else the file, else the paper.

  A recipe's α is a part of its ε: with another ε, and no α of its own, it is as large a part of
  that.

  Args:
    flags: {name: value} of what was given on the command line.
    recipe: name in `RECIPES`; None: the file's.
    path: of a JSON file, ours or the challenge's.

  Returns:
    (config, notices): the `Config`, and lines worth telling the user.

  Raises:
    UserError: as `Config.from_values`, or a file that cannot be used.
  """
  file, notices = read_file(path) if path else ({}, [])
  name, own = recipe or file.get("recipe"), {}
  if name:
    require(name in RECIPES, "recipe", name, ", ".join(RECIPES))
    own = {"recipe": name, **RECIPES[name]}
  part = own.get("alpha") if isinstance(own.get("alpha"), PartOfEpsilon) else None
  if recipe:
    values = {setting: value for setting, value in file.items() if setting not in METHOD} | own
  else:
    values = own | file
    # A config.json of ours holds the recipe's α as a number.
    if part and file.get("alpha") == part.of(values["epsilon"]):
      values["alpha"] = part
  values |= flags
  if part and values["alpha"] is part:
    values["alpha"] = part.of(_typed("epsilon", values["epsilon"], float))
  config = Config.from_values(values)
  if part and config.attack.alpha not in (part.alpha, file.get("alpha"), flags.get("alpha")):
    notices = [*notices, f"α = {config.attack.alpha:.4g}: as large a part of ε as in recipe {name}"]
  return config, notices


def read_file(path: str) -> tuple[dict, list[str]]:
  """Reads a config.json: ours (`versions` is left aside), or the challenge's with its own names.

  Returns:
    ({name: value}, notices), in our names.

  Raises:
    UserError: the file cannot be read, is not a JSON object, or has keys that neither we nor the
      challenge know, or a value of the wrong type.
  """
  try:
    with open(path, "rb") as file:
      given = json.loads(file.read())  # UTF-8, -16 or -32, with a byte-order mark or without
  except OSError as error:
    raise UserError(f"config {path!r} cannot be read: {error.strerror}") from error
  except ValueError as error:
    raise UserError(f"config {path!r} is not JSON: {error}") from error
  require(isinstance(given, dict), f"config {path!r}", type(given).__name__, "a JSON object")
  given.pop("versions", None)
  unknown = sorted(set(given) - set(FIELDS) - set(CHALLENGE_KEYS))
  known = sorted(set(FIELDS) | set(CHALLENGE_KEYS) - {"_comment"})
  require(not unknown, f"key in {path!r}", ", ".join(unknown), ", ".join(known))
  values = {CHALLENGE_KEYS.get(key, key): value for key, value in given.items()}
  values.pop(None, None)
  values = {name: _typed(name, value, FIELDS[name][1]) for name, value in values.items()}
  unused = sorted(key for key in given
                  if key != "_comment" and CHALLENGE_KEYS.get(key, key) is None)
  return values, [f"{path}: {', '.join(unused)} not used in training"] if unused else []


def _typed(name, value, type_):
  """`value` as `type_` (int, float, bool, str, or one of them or None), or UserError."""
  accepted = typing.get_args(type_) if isinstance(type_, types.UnionType) else (type_,)
  if float in accepted and type(value) is int:
    return float(value)
  require(type(value) in accepted, name, value,
          " or ".join("null" if kind is type(None) else NAMES[kind] for kind in accepted))
  return value


NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "a string"}
