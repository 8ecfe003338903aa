"""From hours to minutes at equal robustness? (Abstract, §5)"""

import numpy as np

from tf_madry import checkpoints, config, suite
from tf_madry.attacks.pgd import PGD
from tf_madry.attacks.suite import Suite
from tf_madry.progress import duration
from tf_madry.studies import plots
from tf_madry.studies.outcomes import Claim, Figure, Findings, Table, percent

OPTIONS = ("slice", "headline_n")

RECIPES = ("challenge", "paper", "fast")
PAPER_RATIO = 26  # of training times: 4 hours on one GPU with the challenge's code, 9 minutes on eight (§5)
CHALLENGE_SUITE = 0.885  # of the challenge's model, under AutoAttack (the challenge's leaderboard)
PGD_STEPS = 100  # of the challenge's white-box rows
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
  network = lab.trained(values, {"log_every": every, "eval_every": every, "checkpoint_every": max(300, steps)})
  rows = network.validation
  found = lab.remember({"of": lab.name(network), "headline": lab.options.headline_n, "seed": lab.options.seed},
                       lambda: _attacked(lab, network))
  speed = float(np.median([row["examples_per_second"] for row in network.rows if row["examples_per_second"]]))
  return {"recipe": name, "steps": steps, "full_steps": full, "seconds": network.rows[-1]["time"],
          "full_seconds": network.rows[-1]["time"] if steps == full else full * network.config.training.batch_size / speed,
          "precision": precision, "curve": rows, **found}


def _attacked(lab, network):
  split = lab.data.test.head(lab.options.headline_n)
  loaded = checkpoints.load_model(network.config.run.model_dir)
  pgd = lab.accuracy(network, PGD_STEPS, n=len(split))
  result, _ = suite.run(loaded, Suite(epsilon=network.config.attack.epsilon), split, seed=lab.options.seed,
                        folder=f"{network.config.run.model_dir}/suite")
  return {"n": len(split), "natural": result.natural_accuracy, "pgd": pgd["adversarial_accuracy"],
          "attack": repr(PGD(k=PGD_STEPS)), "suite": result.adversarial_accuracy, "warnings": result.warnings}


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
    [[f"`{name}`", time(row), f"{slowest / row['full_seconds']:.0f}×", accuracy(row, "natural"), accuracy(row, "pgd"),
      accuracy(row, "suite")] for name, row in rows.items()])
  fast = rows["fast"]
  faster = slowest / fast["full_seconds"]
  claim = Claim(
    f"Training time falls from 4 hours to 9 minutes ({PAPER_RATIO}×, with eight GPUs instead of one) at equal robustness; "
    f"the challenge's model stands at {CHALLENGE_SUITE:.1%} under AutoAttack.",
    faster >= PAPER_RATIO and fast["suite"] >= CHALLENGE_SUITE,
    f"{faster:.0f}× on one machine, {percent(fast['suite'], n)} under the suite; by another method, not by more devices")
  return Findings(
    "Headline: hours to minutes", [claim], [table],
    [Figure("headline", "Adversarial accuracy on 1,000 validation images, under the attack that each recipe trains with, "
            "against wall time, evaluations included.", lambda: _curves(rows))],
    {"headline": [{"recipe": name} | {key: row[key] for key in (
        "precision", "steps", "full_steps", "seconds", "full_seconds", "n", "natural", "pgd", "suite")}
        for name, row in rows.items()],
     "headline_curve": [{"recipe": name, **point} for name, row in rows.items() for point in row["curve"]]}, [])


def _curves(rows):
  figure, ((axis,),) = plots.grid(1, 1, width=5.4, height=3.2)
  for colour, (name, row) in zip(plots.COLOURS, rows.items(), strict=False):
    end = "" if row["steps"] == row["full_steps"] else f" (first {row['steps']:,} of {row['full_steps']:,} steps)"
    axis.plot([point["time"] / 60 for point in row["curve"]], [point["adversarial_accuracy"] for point in row["curve"]],
              color=colour, marker=".", label=f"{name}{end}")
  axis.set_xlim(left=0)
  axis.set_xlabel("wall time (minutes)")
  axis.set_ylabel("adversarial accuracy (validation)")
  plots.percent_axis(axis)
  axis.legend()
  return figure
