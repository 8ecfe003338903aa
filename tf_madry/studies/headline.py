"""From hours to minutes at equal robustness? (Abstract, §5)"""

import os
from typing import Any

import numpy as np

from tf_madry import config
from tf_madry.attacks.pgd import PGD
from tf_madry.attacks.suite import Suite
from tf_madry.errors import require
from tf_madry.evaluation import accuracy, bounds, record, suite
from tf_madry.evaluation.intervals import wilson
from tf_madry.evaluation.published import AUTOATTACK, WHITE_BOX
from tf_madry.models import loading
from tf_madry.recipes import RECIPES
from tf_madry.runtime.text import duration
from tf_madry.studies.lab.lab import Lab
from tf_madry.studies.lab.network import Network
from tf_madry.studies.output import plots
from tf_madry.studies.output.findings import (
  Claim,
  Figure,
  Findings,
  Table,
  all_of,
  percent,
  without,
)

OPTIONS = ("slice", "headline_n", "learning_rate")

METHOD = "κ = 8"  # the paper's method at the scale of the studies
# Recipes, in the order of the table; sliced ones are never attacked.
WHOLE, SLICED = ("fast", "certified"), ("challenge", "paper")
# Of training times: 4 hours on one GPU with the challenge's code, 9 minutes on eight (§5).
PAPER_RATIO = 26
PAPER_MINUTES = 9
PGD_STEPS, CURVE_STEPS = 100, 8  # of the challenge's white-box rows; of the attack during training
PAPER_ROWS = {  # §5 and §6: {where: (time, natural, PGD)}
    "the challenge's code, one GPU (paper)": ("4 h", "98%", "89–91%"),
    "κ = 8, eight GPUs (paper)": (f"{PAPER_MINUTES} min", "98%", "about 90%")}
CURVE_POINTS, SLICE_POINTS = 6, 2  # validations during a whole training, and during a slice of one
# Kinds of accuracy, in the table's order. Only networks trained on bounds are bounded: of others
# interval bounds prove nothing.
KINDS = {"natural": "natural", "pgd": f"PGD-{PGD_STEPS}", "suite": "suite",
         "certified": "certified"}
CURVES = {"adversarial_accuracy": "-", "certified_accuracy": "--"}  # {field of a point: line}


def collect(lab: Lab) -> dict[str, Any]:
  """Trains the paper's method and the recipes in `WHOLE` to the end, others for a slice.

  What was trained to the end is attacked, and runs that are given are too.
  """
  given = _given(lab.options.runs)  # first: what is wrong with them is told before hours of training
  networks = {METHOD: lab.network(k=8)} | {name: _recipe(lab, name,
                                                         lab.options.full or name in WHOLE)
                                          for name in (*SLICED, *WHOLE)}
  networks |= given
  return {"recipes": [_row(lab, name, network) for name, network in networks.items()]}


def _recipe(lab, name, whole):
  full = RECIPES[name]["steps"]
  steps = full if whole else min(full, lab.options.slice)
  precision = lab.options.precision if name in WHOLE else "float32"
  resolved, _ = config.resolve({"seed": lab.options.seed, "steps": steps, "precision": precision},
                               recipe=name)
  every = max(1, steps // (CURVE_POINTS if steps == full else SLICE_POINTS))
  return lab.trained(resolved.experiment() | {"recipe": name, "steps": steps},
                     {"log_every": every, "eval_every": every, "checkpoint_every": 300})


def _given(paths):
  """{name: network} of runs that are done, called by their folders."""
  networks = {}
  for path in paths:
    name = os.path.basename(os.path.normpath(path))
    taken = {METHOD, *WHOLE, *SLICED, *networks}
    require(name not in taken, "runs", path,
            f"folders of names that are not a row's already: {', '.join(sorted(taken))}")
    values = config.read_file(os.path.join(path, "config.json"))[0] | {"model_dir": path}
    networks[name] = Network(config.Config.from_values(values))
    require(networks[name].rows, "runs", path, "folders of runs that are done")
  return networks


def _row(lab, name, network):
  training = network.config.training
  full = RECIPES[name]["steps"] if name in SLICED else training.steps
  speed = float(np.median([row["examples_per_second"] for row in network.rows
                           if row["examples_per_second"]]))
  whole = training.steps == full
  ours = name in (METHOD, *WHOLE, *SLICED)
  workers = 0 if ours else _workers(network)
  row = {"name": name, "label": _label(name, network.config, workers), "workers": workers,
         "precision": training.precision,
         "steps": training.steps,
         "full_steps": full, "seconds": network.rows[-1]["time"],
         "full_seconds": network.rows[-1]["time"] if whole else full * training.batch_size / speed}
  if not whole:
    return row | {"curve": []}
  return row | _attacked(lab, network) | {"curve": _curve(lab, name, network)}


def _workers(network):
  """How many processes crafted for it; the settings of a run without any have a number, too."""
  return network.config.asynchronous.workers if "queue_depth" in network.rows[-1] else 0


def _label(name, settings, workers=0):
  if name == METHOD:
    return f"the paper's method, {METHOD}"
  if name in (*WHOLE, *SLICED):
    return f"recipe {name}"
  if settings.training.bounds:
    return f"{name}: recipe {settings.training.recipe}, on interval bounds"
  return f"{name}: κ = {settings.attack.k}, {f'{workers} workers' if workers else 'synchronous'}"


def _curve(lab, name, network):
  """Accuracy on validation images during training, all under the same attack; of a network that
  trains on bounds, what they prove as well."""
  if name == METHOD:  # its log has no validations, but its weights were kept
    seconds = {row["step"]: row["time"] for row in network.rows}
    return [{"step": step,
             "time": seconds[min(seconds, key=lambda logged, step=step: abs(logged - step))],
             "adversarial_accuracy": found["adversarial_accuracy"], "n": found["n"]}
            for step in lab.points(network.steps)
            for found in [lab.accuracy(network, CURVE_STEPS, split="validation",
                                       n=lab.sizes.curve_n, step=step)]]
  if network.config.evaluation_attack.k != CURVE_STEPS:
    return []
  return [{field: row[field] for field in ("step", "time", *CURVES, "n") if field in row}
          for row in network.validation]


def _attacked(lab, network):
  """Accuracies on test images, of every kind that there is of this network."""
  loaded = loading.load_model(network.folder)
  n, seed = lab.options.headline_n, lab.options.seed
  epsilon, bounded = network.config.attack.epsilon, network.config.training.bounds
  strongest = Suite(epsilon=epsilon)

  def compute():
    split = lab.data.test.spread(n)
    result, _ = suite.run(loaded, strongest, split, seed=seed,
                          folder=os.path.join(network.folder, "suite"))
    pgd = accuracy.evaluate(loaded.model, PGD(k=PGD_STEPS), split, seed=seed)
    proven = bounds.certify(loaded.model, split, epsilon) if bounded else None
    return {"n": n, "natural": result.natural_accuracy, "pgd": pgd.adversarial_accuracy,
            "suite": result.adversarial_accuracy,
            "suite_seconds": result.seconds, "warnings": result.warnings} | (
              {"certified": proven.certified_accuracy} if proven else {})

  found = lab.remember({"weights": record.digest(loaded.model), "headline": n, "examples": "spread",
                        "seed": seed,
                        "suite": repr(strongest), "pgd": PGD_STEPS}
                       | ({"bounds": epsilon} if bounded else {}), compute)
  lab.seconds += found["suite_seconds"]
  return found


def findings(data: dict[str, Any], settings: dict[str, Any]) -> Findings:
  """As `study.Study` says."""
  rows = {row["name"]: row for row in data["recipes"]}
  attacked = {name: row for name, row in rows.items() if "suite" in row}
  n = settings["headline_n"]

  def time(row):
    text = duration(row["full_seconds"])
    if row["steps"] == row["full_steps"]:
      return f"{text} (measured)"
    return f"{text} (extrapolated from {row['steps']:,} steps)"

  def accuracies(row):
    return [percent(row[kind], n) if kind in row else "–" for kind in KINDS]

  table = Table(
    f"Time of the full run, and accuracy on {n:,} test images spread over the set. Below, the "
    f"paper's numbers. On the challenge's own network AutoAttack leaves {AUTOATTACK:.1%} (Croce "
    f"and Hein 2020), the best attack of its leaderboard {min(WHITE_BOX.values()):.2%}, PGD-100 "
    f"{WHITE_BOX['PGD-100, cross-entropy']:.2%}. Certified: what interval bounds prove of the same "
    "images, and no attack can change",
    ["training", "steps", "full run", *KINDS.values()],
    [*([row["label"], f"{row['full_steps']:,}", time(row), *accuracies(row)]
       for row in rows.values()),
     *([place, "", took, natural, pgd, "–", "–"]
       for place, (took, natural, pgd) in PAPER_ROWS.items())])
  notes = [f"Signs of masked gradients in {row['label']}, by the suite: "
           f"{'; '.join(row['warnings']) or 'none'}."
           for row in attacked.values() if row["pgd"] > 0.5]
  curve_n = next((point["n"] for row in rows.values() for point in row["curve"]), 0)
  return Findings(
    "Headline: hours to minutes", list(_claims(rows, n)), [table],
    [Figure("headline", f"Adversarial accuracy on {curve_n:,} validation images under PGD κ = "
                        f"{CURVE_STEPS} against wall time on the machine named; broken line: "
            f"certified on the same images; dotted: the paper's {PAPER_MINUTES} minutes on eight "
            "GPUs.",
            lambda: _curves(rows),
            f"{curve_n:,} validation images, PGD κ = {CURVE_STEPS}")],
    {"headline": [without(row, "curve", "warnings") | {kind: row.get(kind) for kind in KINDS}
                  for row in rows.values()],
     "headline_curve": [{"name": name} | point | {kind: point.get(kind) for kind in CURVES}
                        for name, row in rows.items() for point in row["curve"]]}, notes)


def _claims(rows, n):
  method, challenge = rows[METHOD], rows["challenge"]
  yield Claim(f"With κ = 8 and eight GPUs training takes {PAPER_MINUTES} minutes instead of the 4 "
              f"hours of the challenge's code on one ({PAPER_RATIO}×), at equal robustness.", None,
              "not tested: it needs eight GPUs; see `power` for κ, `speedup` for workers")
  yield Claim("The paper's method makes networks as robust as the challenge's (PGD: 89 to 91 % in "
              "the paper), natural about 98 %.",
              reaches(method["pgd"], n, 0.89, method["natural"]),
              f"{method['steps']:,} steps: natural {percent(method['natural'], n)}, "
              f"PGD-{PGD_STEPS} {percent(method['pgd'], n)}, suite {percent(method['suite'], n)}, "
              f"in {duration(method['full_seconds'])}")
  crews = [row for row in rows.values() if row["workers"]]
  yield Claim("An asynchronously trained network reaches about 90 % adversarial and 98 % natural.",
              all_of([reaches(row["pgd"], n, 0.89, row["natural"]) for row in crews]),
              "; ".join(f"{row['label']}: natural {percent(row['natural'], n)}, PGD-{PGD_STEPS} "
                        f"{percent(row['pgd'], n)}" for row in crews)
              or "not tested: no such run was given (`--runs`)")
  fast = rows["fast"]
  yield Claim("(Not in the paper:) another method, `--recipe fast`, does it in minutes on this "
              "machine.",
              reaches(fast["suite"], n, AUTOATTACK, fast["natural"]),
              f"{duration(fast['full_seconds'])}, suite {percent(fast['suite'], n)}, to be "
              f"compared with {AUTOATTACK:.1%}; the challenge's recipe would take "
              f"{duration(challenge['full_seconds'])} here, extrapolated from "
              f"{challenge['steps']:,} steps")
  if "certified" in rows:  # studies of earlier versions have none
    proven = rows["certified"]
    yield Claim("(Not in the paper:) `--recipe certified` proves of a network what attacks alone "
                "leave to hope, in minutes on this machine.",
                reaches(proven["certified"], n, AUTOATTACK, proven["natural"]),
                f"{duration(proven['full_seconds'])}, natural {percent(proven['natural'], n)}, "
                f"certified {percent(proven['certified'], n)}, to be compared with the "
                f"{AUTOATTACK:.1%} that AutoAttack leaves of the challenge's network without a "
                f"proof; suite {percent(proven['suite'], n)}")


def reaches(accuracy: float, n: int, aim: float, natural: float) -> bool | None:
  """Whether an accuracy is as high as the aim, at about 98 % natural.

  None where its interval has the aim inside.
  """
  low, high = wilson(accuracy, n)
  return False if natural < 0.975 else None if low < aim <= high else accuracy >= aim


def _curves(rows):
  figure, ((axis,),) = plots.grid(1, 1, width=9.2, height=3.6)
  for colour, row in zip(plots.COLOURS, (row for row in rows.values() if row["curve"]),
                         strict=False):
    for kind, line in CURVES.items():
      points = [point for point in row["curve"] if kind in point]
      if points:
        label = row["label"] if kind == "adversarial_accuracy" else f"{row['label']}: a proof"
        axis.plot([point["time"] / 60 for point in points], [point[kind] for point in points],
                  linestyle=line, color=colour, marker=".", label=label)
  axis.axvline(PAPER_MINUTES, **plots.PAPER | {"linestyle": ":"},
               label=f"{PAPER_MINUTES} min: paper, eight GPUs")
  longest = max((point["time"] / 60 for row in rows.values() for point in row["curve"]), default=0)
  axis.set_xscale("log")  # some take a minute, others hours
  ticks = [minutes for minutes in (1, 2, 5, 10, 20, 50, 100, 200, 500) if minutes < longest]
  axis.set_xticks(ticks, ticks)
  axis.minorticks_off()
  axis.set_xlabel("wall time (minutes)")
  axis.set_ylabel(f"adversarial accuracy (validation, PGD κ = {CURVE_STEPS})")
  plots.percent_axis(axis)
  plots.legend_beside(figure, axis)
  return figure
