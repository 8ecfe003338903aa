"""From hours to minutes at equal robustness? (Abstract, §5)"""

import numpy as np

from tf_madry import config
from tf_madry.attacks.pgd import PGD
from tf_madry.attacks.suite import Suite
from tf_madry.evaluation import suite
from tf_madry.evaluation.intervals import wilson
from tf_madry.models import loading
from tf_madry.studies.output import plots
from tf_madry.studies.output.outcomes import Claim, Figure, Findings, Table, percent
from tf_madry.training.progress import duration

OPTIONS = ("slice", "headline_n")

RECIPES = ("challenge", "paper", "fast")
PAPER_RATIO = 26  # of training times: 4 hours on one GPU with the challenge's code, 9 minutes on eight (§5)
PAPER_MINUTES = 9
CHALLENGE_SUITE = 0.885  # of the challenge's model, under AutoAttack (the challenge's leaderboard)
PGD_STEPS = 100  # of the challenge's white-box rows
# §5 and §6: {where: (time, ratio of times, natural, PGD, suite)}; the last is from the challenge's leaderboard.
PAPER_ROWS = {
    "the challenge's code, one GPU (paper)": ("4 h", "1×", "98%", "89–91%", f"{CHALLENGE_SUITE:.1%} (AutoAttack)"),
    "κ = 8, eight GPUs (paper)": (f"{PAPER_MINUTES} min", f"{PAPER_RATIO}×", "98%", "about 90%", "–")}
CURVE_POINTS, SLICE_POINTS = 6, 2  # validations during a whole training, and during a slice of one


def measure(lab):
  """Trains with `fast` from start to end and with the others for a slice of their steps, and attacks what came of it."""
  return {"recipes": [_recipe(lab, name) for name in RECIPES]}


def _recipe(lab, name):
  full = config.RECIPES[name]["steps"]
  steps = full if name == "fast" or lab.options.full else min(full, lab.options.slice)
  precision = lab.options.precision if name == "fast" else "float32"
  values = config.RECIPES[name] | {"recipe": name, "seed": lab.options.seed, "steps": steps, "precision": precision}
  every = max(1, steps // (CURVE_POINTS if steps == full else SLICE_POINTS))
  network = lab.trained(values, {"log_every": every, "eval_every": every, "checkpoint_every": 300})
  pgd, strongest = PGD(k=PGD_STEPS), Suite(epsilon=network.config.attack.epsilon)
  standing = lab.accuracy(network, pgd.k, n=lab.options.headline_n)["adversarial_accuracy"]
  found = lab.remember({"of": lab.name(network), "headline": lab.options.headline_n, "seed": lab.options.seed,
                        "suite": repr(strongest)}, lambda: _attacked(lab, network, strongest))
  lab.seconds += found["suite_seconds"]
  speed = float(np.median([row["examples_per_second"] for row in network.rows if row["examples_per_second"]]))
  return {"recipe": name, "steps": steps, "full_steps": full, "seconds": network.rows[-1]["time"],
          "full_seconds": network.rows[-1]["time"] if steps == full else full * network.config.training.batch_size / speed,
          "precision": precision, "curve": network.validation, "validation": network.made["validation"],
          "attack": repr(pgd), **found, "pgd": standing}


def _attacked(lab, network, strongest):
  split = lab.data.test.head(lab.options.headline_n)
  loaded = loading.load_model(network.config.run.model_dir)
  result, _ = suite.run(loaded, strongest, split, seed=lab.options.seed, folder=f"{network.config.run.model_dir}/suite")
  return {"n": len(split), "natural": result.natural_accuracy, "suite": result.adversarial_accuracy,
          "suite_seconds": result.seconds, "warnings": result.warnings}


def findings(data, settings):
  """As `tf_madry.studies` says."""
  rows = {row["recipe"]: row for row in data["recipes"]}
  slowest, n = rows["challenge"]["full_seconds"], rows["fast"]["n"]

  def time(row):
    text = duration(row["full_seconds"])
    return f"{text} (measured)" if row["steps"] == row["full_steps"] else f"{text} (extrapolated from {row['steps']:,} steps)"

  def accuracy(row, name):
    text = percent(row[name], n)
    return text if row["steps"] == row["full_steps"] else f"{text} after {row['steps']:,} steps"

  table = Table(
    f"Time of the full run (where measured, with its {CURVE_POINTS} validations), and accuracy on {n:,} test images",
    ["recipe", "full run", "ratio of times", "natural", f"PGD-{PGD_STEPS}", "suite"],
    [*([f"`{name}`", time(row), f"{slowest / row['full_seconds']:.0f}×", accuracy(row, "natural"), accuracy(row, "pgd"),
        accuracy(row, "suite")] for name, row in rows.items()),
     *([place, *values] for place, values in PAPER_ROWS.items())])
  fast = rows["fast"]
  faster = slowest / fast["full_seconds"]
  claim = Claim(
    f"Training time falls from 4 hours to 9 minutes ({PAPER_RATIO}×, with eight GPUs instead of one) at equal robustness; "
    f"the challenge's model stands at {CHALLENGE_SUITE:.1%} under AutoAttack.",
    False if faster < PAPER_RATIO else _at_least(fast["suite"], n, CHALLENGE_SUITE),
    f"{faster:.0f}× on one machine, {percent(fast['suite'], n)} under the suite, n = {n:,}; by another method, not by more "
    "devices")
  notes = [f"Signs of hidden gradients in `{name}`, by the suite: {'; '.join(row['warnings']) or 'none'}."
           for name, row in rows.items()]
  return Findings(
    "Headline: hours to minutes", [claim], [table],
    [Figure("headline", f"Adversarial accuracy on {fast['curve'][0]['n']:,} validation images, under the attacks named, "
            f"against wall time, evaluations included; grey: the {CHALLENGE_SUITE:.1%} of the challenge's model under "
            f"AutoAttack, on test images, and the paper's {PAPER_MINUTES} minutes on eight GPUs.", lambda: _curves(rows),
            f"{fast['curve'][0]['n']:,} validation images")],
    {"headline": [{"recipe": name} | {key: row[key] for key in (
        "precision", "steps", "full_steps", "seconds", "full_seconds", "n", "natural", "pgd", "suite")}
        for name, row in rows.items()],
     "headline_curve": [{"recipe": name, "attack": _attack(row), **point}
                        for name, row in rows.items() for point in row["curve"]]}, notes)


def _at_least(accuracy, n, aim):
  """Whether an accuracy measured on n examples is as high as the aim; None where its interval has the aim inside."""
  low, high = wilson(accuracy, n)
  return None if low < aim <= high else accuracy >= aim


def _attack(row):
  """The attack that a curve is of."""
  attack = config.AttackConfig(**row["validation"])
  return f"PGD κ = {attack.k}, α = {attack.step_size:.2g}"


def _curves(rows):
  figure, ((axis,),) = plots.grid(1, 1, width=6.4, height=3.6)
  for colour, (name, row) in zip(plots.COLOURS, rows.items(), strict=False):
    end = "" if row["steps"] == row["full_steps"] else f" (first {row['steps']:,} of {row['full_steps']:,} steps)"
    axis.plot([point["time"] / 60 for point in row["curve"]], [point["adversarial_accuracy"] for point in row["curve"]],
              color=colour, marker=".", label=f"{name}{end}, {_attack(row)}")
  axis.axhline(CHALLENGE_SUITE, **plots.PAPER, label=f"{CHALLENGE_SUITE:.1%}: challenge's model, AutoAttack")
  axis.axvline(PAPER_MINUTES, **plots.PAPER | {"linestyle": ":"}, label=f"{PAPER_MINUTES} min: paper, eight GPUs")
  axis.set_xlim(left=0)
  axis.set_xlabel("wall time (minutes)")
  axis.set_ylabel("adversarial accuracy (validation)")
  plots.percent_axis(axis)
  axis.legend(loc="center left")
  return figure
