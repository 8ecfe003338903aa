"""A lab of a few steps and images, and what studies would have collected, made up."""

import copy
import functools
from typing import Any

import numpy as np

from tf_madry import datasets
from tf_madry.evaluation.intervals import wilson
from tf_madry.studies import cycles, speedup, transfer
from tf_madry.studies.lab import options, packing
from tf_madry.studies.lab.lab import Lab

STEPS = 3
TINY = {"scale": STEPS / options.STEPS, "k_list": (1, 2), "precision": "float32"}
SIZES = options.Sizes(batch_size=8, points=1, frame_every=1, curve_n=6, final_n=6, strongest_n=3)
SETTINGS = {"scale": 0.01, "seed": 0, "precision": "float32", "batch_size": 128}
STALE = SETTINGS | {"s_list": [0, 16, 32, 64, 128], "rates": [2e-3, 5e-4]}


def tiny(out: Any, **given: Any) -> Lab:
  """A lab whose networks train for `STEPS` steps."""
  return Lab(str(out), options.fill(**TINY | given), SIZES)


def row(accuracy: float, n: int = 10_000, natural: float = 0.98) -> dict[str, Any]:
  """What `lab.final_row` makes.

  Of two such rows the lower one is right on a part of what the other is right on.
  """
  low, high = wilson(accuracy, n)
  return {"n": n, "natural_accuracy": natural, "adversarial_accuracy": accuracy, "low": low,
          "high": high,
          "right": packing.pack_bits(np.arange(n) % 1000 < 1000 * accuracy)}


def paper_cells() -> dict[str, Any]:
  """Table 1 as the paper has it."""
  return {"cells": [{"target": target, "source": source, "attack_k": target, **row(value)}
                    for target, values in transfer.PAPER.items()
                    for source, value in values.items()]}


def power_data(k_list: tuple[int, ...] = (1, 8),
               adversarial: Any = lambda k, attacker: 0.9) -> dict[str, Any]:
  """Of `power`, with an accuracy for each pair of κ."""
  final = [{"k": k, "attacker": attacker,
            **row(adversarial(k, attacker), 2_000 if attacker == 128 else 10_000),
            "adversarial_loss": 0.3,
            "training_seconds": 60.0 * k} for k in k_list for attacker in sorted({*k_list, 128})]
  return {"final": final, "curves": [row | {"step": step, "split": split} for row in final
                                     for step in (1, 2)
                                     for split in ("train", "test")]}


def curve(fresh: Any, stale: Any = lambda step: 0.9, steps: int = 100) -> list[dict[str, Any]]:
  """Ten lines of a log, by functions of the step."""
  every = steps // 10
  return [{"step": step, "fresh_accuracy": fresh(step), "stale_accuracy": stale(step),
           "learning_rate": 1e-3 * (1 - step / steps)} for step in range(every, steps + 1, every)]


def stale_data(rates: tuple[float, ...] = (5e-4, 2e-3),
               s_list: tuple[int, ...] = (0, 16, 32, 64, 128),
               holds: Any = lambda rate, s: s * rate < 0.05) -> dict[str, Any]:
  """Of `staleness`, where training holds for some (rate, s)."""
  keys = [(rate, s) for rate in rates for s in s_list]
  return {"final": [{"learning_rate": rate, "s": s, **row(0.9 if holds(rate, s) else 0.05)}
                    for rate, s in keys],
          "curves": [{"learning_rate": rate, "s": s, "curve": curve(
            lambda step, rate=rate, s=s: 0.9 if holds(rate, s) else 0.0)} for rate, s in keys]}


def reload_data(by: dict[tuple[str, int], float]) -> dict[str, Any]:
  """Of `reload`, with an accuracy for each ("reload", R) or ("constant", s)."""
  return {"final": [{"kind": kind, "value": value,
                     "mean": value if kind == "constant" else (value - 1) / 2,
                     "most": value if kind == "constant" else value - 1, **row(accuracy),
                     "curve": curve(lambda step: 0.5)}
                    for (kind, value), accuracy in by.items()]}


def takeoff_data(holds: Any, rates: tuple[float, ...] = (1e-4, 3e-4, 1e-3),
                 s_list: tuple[int, ...] = (0, 32, 48, 64, 96, 128),
                 seeds: int = 2) -> dict[str, Any]:
  """Of `takeoff`, where robustness stays for some (rate, s)."""
  return {"begin": row(0.9), "steps": 2_000, "final": [
    {"seed": seed, "learning_rate": rate, "s": s, **row(0.9 if holds(rate, s) else 0.6),
     "curve": curve(lambda step: 0.5)}
    for seed in range(seeds) for rate in rates for s in s_list]}


def cycle_data(apart: int = 60) -> dict[str, Any]:
  """Of `cycles`.

  Fresh accuracy of the long run is below stale until a share of training, in percent.
  """
  images = datasets.load().train.images[:cycles.SHOWN_EXAMPLES]
  shape = (3, *images.shape)
  series = {str(s): {"steps": [8, 16, 24],
                     "perturbations": packing.pack(np.full(shape, s, np.int8))} for s in (0, 64)}
  summary = [{"s": s, "frames": 3, "period": s or None, "peaks": s and 2, "noise_level": 0.1,
              "alike": 0.1, "common": 0.2,
              "correlation_at_period": s and 0.5} for s in (0, 64)]
  ended = {"n": 500, "natural_accuracy": 0.98, "adversarial_accuracy": 0.85, "low": 0.82,
           "high": 0.88}
  return {"series": series, "natural": packing.pack(images), "epsilon": 0.3, "frame_every": 8,
          "summary": summary,
          "correlations": [{"s": s, "lag": lag, "correlation": 1.0 - lag / 8} for s in (0, 64)
                           for lag in (0, 8)],
          "short": ended | {"curve": curve(lambda step: 0.1)},
          "long": ended | {"curve": curve(lambda step: 0.1 if step < 5 * apart else 0.85,
                                          steps=500)},
          "control": ended | {"curve": curve(lambda step: 0.9, steps=500)}}


@functools.cache
def _simulated(ratio):
  given = options.fill(t_adv=0.1 * ratio, t_train=0.1, precision="float32")
  return speedup.collect(Lab("", given))


def speed_data(ratio: float = 8) -> dict[str, Any]:
  """Of `speedup`, with costs of this ratio, and this machine measured with no worker and with one.
  """
  data = copy.deepcopy(_simulated(ratio))

  def measured(workers, assist, speeds):
    return {"workers": workers, "assist": assist, "steps": 40, "speeds": speeds,
            "staleness_mean": 3.0, "staleness_max": 12, "waiting": 0.68}

  def simulated(workers, assist, examples):
    return data["devices"][0] | {"workers": workers, "assist": assist, "rate": examples / 64}

  return data | {
    "cores": 2, "given": False, "batch_size": 64,
    "handover": dict.fromkeys(("message", "batch", "weights", "ingest", "watch", "publish"), 1e-3),
    "measured": [{"workers": 0, "assist": True, "steps": 40, "speeds": [60.0, 64.0, 70.0]},
                 measured(1, True, [120.0, 128.0]), measured(1, False, [90.0, 100.0])],
    "simulated": [simulated(1, True, 120), simulated(1, False, 95)],
    "cluster_measured": [measured(1, False, [80.0, 90.0]), measured(2, False, [100.0, 110.0])],
    "cluster_simulated": [simulated(1, False, 85), simulated(2, False, 150)]}
