"""The settings of a run: frozen dataclasses, one a concern, that check what they are given."""

import dataclasses
import math
import typing

from tf_madry.errors import require
from tf_madry.recipes import RECIPES


def check_attack(*, epsilon: float, k: int = 1, alpha: float | None = None) -> None:
  """Raises `UserError` unless ε, κ and α (None: by default) can be an attack's."""
  require(k >= 1, "k", k, "a whole number of steps, at least 1")
  require(0 <= epsilon <= 1, "epsilon", epsilon, "a number from 0 to 1 (pixels lie in [0, 1])")
  require(alpha is None or 0 < alpha < float("inf"), "alpha", alpha, "a number above 0")


def default_alpha(k: int, epsilon: float) -> float:
  """α = 2.5 ε/κ (§6): enough for κ steps to cross the ball from any start, and some more."""
  return 2.5 * epsilon / k


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttackConfig:
  """The attack that training defends against (Eq. 5)."""

  losses: typing.ClassVar = ("xent", "cw")

  k: int = 8  # steps κ; §4 finds 8 to be enough
  epsilon: float = 0.3  # radius of the ball, in units of the pixel range (§6)
  alpha: float | None = None  # size of a step; None: 2.5 ε/κ (§6)
  random_start: bool = True  # from a random point of the ball (§6)
  loss: str = "xent"

  def __post_init__(self):
    check_attack(k=self.k, epsilon=self.epsilon, alpha=self.alpha)
    require(self.loss in self.losses, "loss", self.loss, ", ".join(self.losses))

  @property
  def step_size(self) -> float:
    """α: as given, or by default."""
    return default_alpha(self.k, self.epsilon) if self.alpha is None else self.alpha


def _method(default):
  """A field that belongs to a method: --recipe sets it even where it does not name it."""
  return dataclasses.field(default=default, metadata={"method": True})


CHOICES = {"reduction": ("mean", "sum"),
           "initialization": ("challenge", "he", "threshold", "interval"),
           "schedule": ("constant", "linear", "late"), "precision": ("float32", "bfloat16"),
           "rate_scaling": ("linear", "sqrt")}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
  """The minimisation of Eq. 6: everything else that decides what the weights become."""

  recipe: str = "paper"
  adversarial: bool = True  # False: train on natural images (Eq. 1)
  dataset: str = "mnist"
  network: str = _method("paper")  # name in `models.NETWORKS`
  steps: int = 60_000  # §6
  batch_size: int = 128  # §6
  # Of Adam. The paper gives none; this is that of the challenge's code, which it builds on.
  learning_rate: float = 1e-4
  # The batch that the rate is for; with a larger one, the rate is larger. 0: as it is given.
  base_batch: int = 0
  # By which power of batch_size / base_batch: "linear" (Goyal et al. 2017, for SGD), or "sqrt", its
  # root, which keeps the noise of Adam's updates as it was (Malladi et al. 2022).
  rate_scaling: str = "linear"
  # Share of the steps over which the rate grows from that of `base_batch` to that of the batch
  # (Goyal et al. 2017: 5 epochs of 90).
  warmup: float = 0.0
  reduction: str = _method("mean")  # of the loss over the batch; the challenge sums
  initialization: str = _method("challenge")  # of the weights, see `network.build`
  # Of the learning rate; "linear": up over the first tenth of the steps, then down to 0; "late": up
  # over the first fiftieth, down to 0 over the last three fifths.
  schedule: str = _method("constant")
  ramp: float = _method(0.0)  # share of the steps over which ε (with α) rises from 0 to its value
  margin: float = _method(1.0)  # radius of the ball that is trained in, in units of ε
  shift: int = _method(0)  # pixels that training images are moved by at the most, anew in each step
  # Decay, by step, of the running average of the weights that is the result; 0: none.
  averaging: float = _method(0.0)
  # Weights are updated from the same backward passes as the attack's steps (Shafahi et al. 2019).
  replay: bool = _method(False)
  lead: int = _method(0)  # the first so many of the κ steps on a replayed batch update no weights
  # Trained on interval bounds, which no attack can exceed (Gowal et al. 2018), in place of attacks.
  bounds: bool = _method(False)
  # Batches drawn for each one trained on, made of their hardest examples (Jiang et al. 2019).
  candidates: int = _method(1)
  staleness: int = 0  # steps from the crafting of a batch to the training on it, simulated (§5)
  # Steps between renewals of the weights that craft, as §5's workers reload them; 0: off.
  staleness_reload: int = 0
  # Of forward and backward passes; weights, optimizer and projection are always float32.
  # None: what is quicker on the machine.
  precision: str | None = "float32"
  seed: int = 0

  def __post_init__(self):
    require(self.recipe in RECIPES, "recipe", self.recipe, ", ".join(RECIPES))
    self._require_numbers()
    for name, accepted in CHOICES.items():
      value = getattr(self, name)
      left_open = name == "precision" and value is None
      require(left_open or value in accepted, name, value, ", ".join(accepted))
    if self.replay:
      self._require_replayable()
    else:
      require(self.candidates == 1, "candidates", self.candidates,
              "1 in a recipe that does not replay its batches")
      require(self.lead == 0, "lead", self.lead, "0 in a recipe that does not replay its batches")
    if self.bounds:
      self._require_boundable()
    require(not self.shift or not self.bounds, "shift", self.shift,
            "0 in a recipe that trains on interval bounds")
    require(not (self.staleness_reload and self.staleness), "staleness_reload",
            self.staleness_reload, "0 with a staleness of its own")

  def _require_numbers(self):
    for name, least, accepted in (
        ("steps", 1, "a whole number, at least 1"),
        ("batch_size", 1, "a whole number of examples, at least 1"),
        ("base_batch", 0, "a whole number of examples, 0 for none"),
        ("candidates", 1, "a whole number of batches, at least 1"),
        ("lead", 0, "a whole number of steps, at least 0"),
        ("shift", 0, "a whole number of pixels, at least 0"),
        ("staleness", 0, "a whole number of steps, at least 0"),
        ("staleness_reload", 0, "a whole number of steps, 0 for off")):
      require(getattr(self, name) >= least, name, getattr(self, name), accepted)
    for name in ("learning_rate", "margin"):
      require(0 < getattr(self, name) < float("inf"), name, getattr(self, name), "a number above 0")
    require(0 <= self.ramp < 1, "ramp", self.ramp, "a share of the steps, from 0 to below 1")
    require(0 <= self.warmup < 1, "warmup", self.warmup, "a share of the steps, from 0 to below 1")
    require(self.base_batch or not self.warmup, "warmup", self.warmup, "0 without a base_batch")
    require(0 <= self.averaging < 1, "averaging", self.averaging, "a decay, from 0 to below 1")
    require(0 <= self.seed < 2**28, "seed", self.seed, f"a whole number from 0 to {2**28 - 1}")

  def _require_replayable(self):
    require(self.adversarial, "adversarial", self.adversarial,
            "true in a recipe that replays its batches")
    for name in ("staleness", "staleness_reload"):
      require(not getattr(self, name), name, getattr(self, name), "0 in a recipe that replays its "
              "batches: they are trained on while they are crafted")

  def _require_boundable(self):
    require(self.adversarial and not self.replay, "bounds", self.bounds,
            "false in natural training, and in a recipe that replays its batches")
    require(self.initialization == "interval", "initialization", self.initialization,
            "interval in a recipe that trains on interval bounds")
    for name in ("staleness", "staleness_reload"):
      require(not getattr(self, name), name, getattr(self, name),
              "0 in a recipe that trains on interval bounds: nothing is crafted")

  @property
  def drawn(self) -> int:
    """Examples that a step draws from the training set."""
    return self.candidates * self.batch_size

  @property
  def rate_scale(self) -> float:
    """How many times the learning rate of `base_batch` that of the batch is."""
    scale = self.batch_size / self.base_batch if self.base_batch else 1.0
    return math.sqrt(scale) if self.rate_scaling == "sqrt" else scale


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig:
  """Where a run writes and how often; nothing here changes the weights."""

  model_dir: str = ""  # empty: models/<recipe>
  checkpoint_every: int = 300  # steps; the challenge's
  keep: int = 3  # newest checkpoints kept; the challenge's
  log_every: int = 100  # steps between lines of progress and of metrics.jsonl; the challenge's
  summary_every: int = 100  # steps between TensorBoard summaries; the challenge's
  eval_every: int = 1_000  # steps between evaluations on the validation split; 0: none

  def __post_init__(self):
    for name in ("checkpoint_every", "keep", "log_every", "summary_every"):
      require(getattr(self, name) >= 1, name, getattr(self, name), "a whole number, at least 1")
    require(self.eval_every >= 0, "eval_every", self.eval_every,
            "a whole number of steps, 0 for never")


STRATEGIES = ("none", "mirrored", "multiworker")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistributionConfig:
  """Over which devices a batch is split (§7); the weights are the same, but for rounding."""

  # Of tf.distribute: "mirrored", the GPUs of this machine; "multiworker", those of all machines in
  # TF_CONFIG.
  strategy: str = "none"
  cpu_devices: int = 0  # parts that the CPU counts as, to try "mirrored" without GPUs; 0: off

  def __post_init__(self):
    require(self.strategy in STRATEGIES, "strategy", self.strategy, ", ".join(STRATEGIES))
    require(self.cpu_devices >= 0, "cpu_devices", self.cpu_devices,
            "a whole number of devices, 0 for off")
    require(self.strategy == "mirrored" or not self.cpu_devices, "cpu_devices", self.cpu_devices,
            "0 unless the strategy is mirrored")


RELOAD_FROM = ("checkpoint", "memory")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AsyncConfig:
  """Asynchronous training (§5): who crafts the batches, and how stale they may get."""

  workers: int = 1  # processes that craft for the trainer, 0 to 7 in §5; 0: synchronous training
  queue_size: int = 16  # finished batches that may wait; §5 restricts it and names no number
  reload_every: int = 100  # steps between snapshots of the weights for the workers (§5)
  # Where workers get them: "checkpoint", files of the model directory (§5), or "memory". None:
  # memory where there is a bound on staleness, which cannot wait for a disk, and on a cluster; else
  # checkpoint.
  reload_from: str | None = None
  max_staleness: int | None = None  # steps that a batch's weights may be behind; None: as it comes
  trainer_assist: bool = True  # the trainer crafts while the queue is empty, the mend that §5 names
  devices: str = ""  # numbers of GPUs, as "0,2,5"; empty: all
  # Of Ray, where the workers are: "host:port", "auto", "local"; empty: processes of this machine.
  cluster: str = ""
  # That a worker takes of the cluster, as '{"GPU": 1}'; empty: a GPU or, without any, a core.
  worker_resources: str = ""

  def __post_init__(self):
    require(self.workers >= 0, "workers", self.workers, "a whole number of processes, 0 for none")
    require(self.queue_size >= 1, "queue_size", self.queue_size,
            "a whole number of batches, at least 1")
    require(self.reload_every >= 1, "reload_every", self.reload_every,
            "a whole number of steps, at least 1")
    require(self.max_staleness is None or self.max_staleness >= 0, "max_staleness",
            self.max_staleness, "a whole number of steps, at least 0")
    require(self.reload_from in (None, *RELOAD_FROM), "reload_from", self.reload_from,
            ", ".join(RELOAD_FROM))
    require(self.max_staleness is None or self.reload_from != "checkpoint", "reload_from",
            self.reload_from,
            "memory where there is a max_staleness: a bound on staleness cannot wait for a disk")
    require(not self.cluster or self.reload_from != "checkpoint", "reload_from", self.reload_from,
            "memory on a cluster, whose nodes share weights through Ray")
    require(not self.worker_resources or self.cluster, "worker_resources", self.worker_resources,
            "nothing without a cluster")
    host, _, port = self.cluster.rpartition(":")
    require(self.cluster in ("", "auto", "local") or (host and "//" not in host and port.isdecimal()),
            "cluster", self.cluster, "host:port of a Ray cluster, auto, or local")

  @property
  def in_memory(self) -> bool:
    """Whether workers get the weights in memory, and not from the model directory."""
    return (self.reload_from == "memory" or self.max_staleness is not None
            or bool(self.cluster))
