"""How old may adversarial examples be? (§5, Figures 5 and 8)"""

from collections.abc import Callable, Sequence
from typing import Any

from tf_madry.studies.lab.lab import Lab, final_row
from tf_madry.studies.lab.options import batch_size
from tf_madry.studies.lab.paired import compare
from tf_madry.studies.output import curves, plots
from tf_madry.studies.output.findings import (
  NOT_TESTED,
  Claim,
  Figure,
  Findings,
  Table,
  all_of,
  percent,
  without,
)

OPTIONS = ("s_list", "rates")
K = 8  # of training and of the final attack, as in all of §5

# Figure 8 and the text below it: the test accuracies up to s = 32, and above.
PAPER_HOLDS, PAPER_BREAKS = 32, 64
PAPER_ADVERSARIAL = {"up to the break": 0.90, "beyond": 0.05}
PAPER_NATURAL = 0.98
PAPER_S = (0, *(2**n for n in range(11)))
SAME = 0.05  # difference of accuracies that are "about the same"
# How far stale accuracy is above fresh: up to the one they go together, from the other not.
TRACKS, APART = 0.1, 0.2
# Adversarial accuracy of plain training from which it has learnt something that staleness can
# break.
LEARNT = 0.3


def collect(lab: Lab) -> dict[str, Any]:
  """Trains with every s at the first rate, and looks for the break at the others.

  Bisection finds it in a few trainings.
  """
  first, *others = lab.options.rates
  networks = {(first, s): lab.network(s=s, learning_rate=first) for s in lab.options.s_list}
  accuracy = {key: lab.accuracy(network, K) for key, network in networks.items()}
  for rate in others:
    def adversarial(s, rate=rate):
      networks[rate, s] = lab.network(s=s, learning_rate=rate)
      accuracy[rate, s] = lab.accuracy(networks[rate, s], K)
      return accuracy[rate, s]["adversarial_accuracy"]
    bisect([s for s in lab.options.s_list if s], adversarial)
  keys = sorted(networks)
  return {"final": [{"learning_rate": rate, "s": s, **final_row(accuracy[rate, s])}
                    for rate, s in keys],
          "curves": [{"learning_rate": rate, "s": s, "curve": networks[rate, s].curve()}
                     for rate, s in keys]}


def broken(adversarial: float, plain: float) -> bool:
  """Whether a network has less than half of the accuracy of plain training."""
  return adversarial < plain / 2


def bisect(values: Sequence[int], adversarial: Callable[[int], float]) -> int | None:
  """Finds the smallest of ascending values of s that breaks training.

  All larger ones are taken to break it too.

  Args:
    values: of s, above 0.
    adversarial: from s to the final accuracy; called for 0 and for about log2(len(values) + 1) of
      the values.

  Returns:
    The value, or None if even the largest does not break it.
  """
  plain, low, high = adversarial(0), 0, len(values)
  while low < high:
    middle = (low + high) // 2
    if broken(adversarial(values[middle]), plain):
      high = middle
    else:
      low = middle + 1
  return values[low] if low < len(values) else None


def breaks(rows: dict[int, dict[str, Any]]) -> dict[str, int | None] | None:
  """Where accuracy falls at one rate.

  Args:
    rows: by s, as `collect` has them.

  Returns:
    {"falls": s or None, "half": s or None}; None where plain training has learnt nothing that could
    break.
  """
  plain = rows[0]["adversarial_accuracy"]
  if plain < LEARNT:
    return None
  falls = [s for s in rows if s and compare(rows[0], rows[s]).verdict == 1]
  halves = [s for s in rows if broken(rows[s]["adversarial_accuracy"], plain)]
  return {"falls": min(falls, default=None), "half": min(halves, default=None)}


def findings(data: dict[str, Any], settings: dict[str, Any]) -> Findings:
  """As `study.Study` says."""
  final, rates = data["final"], settings["rates"]
  by = {rate: {row["s"]: row for row in final if row["learning_rate"] == rate} for rate in rates}
  n, first = final[0]["n"], by[rates[0]]
  table = Table(
    f"Accuracy on {n:,} test images after training with staleness s, under PGD κ = {K}, with 95 % "
    f"intervals (paper: 90 % up to s = {PAPER_HOLDS}, about 5 % beyond; natural about 98 % at s = "
    "32)",
    ["learning rate", "s", "natural", "adversarial", "lost against s = 0, on the same images"],
    [[f"{rate:g}", s, percent(row["natural_accuracy"], n), percent(row["adversarial_accuracy"], n),
      str(compare(by[rate][0], row)) if s else "–"] for rate, rows in by.items()
     for s, row in rows.items()])
  where = Table(
    "From where accuracy falls: significantly below s = 0 (McNemar on the same images), and below "
    "half of it",
    ["learning rate", "falls from s", "below half from s", "largest s tried"],
    [[f"{rate:g}", *(found[name] or "none" for name in ("falls", "half")), max(rows)]
     for rate, rows in by.items() if (found := breaks(rows))])
  shown = {row["s"]: row["curve"] for row in data["curves"] if row["learning_rate"] == rates[0]}
  stale = [s for s in shown if s]
  points = {s: curves.examples(shown[s], batch_size(settings), not s) for s in shown}
  steps = max(row["step"] for row in shown[0])
  largest = max(first)
  left_out = [s for s in PAPER_S if s not in first]
  notes = ["The queue is filled before training; with ε and the learning rate on a schedule, a "
           "batch has the ε of the step that trains on it.",
           f"s = {largest} is {largest / steps:.1%} of the {steps:,} steps; in the paper 64 is 0.1 "
           "% of 60,000.",
           *([f"Of the paper's values s = {', '.join(map(str, left_out))} were not trained."]
             if left_out else []),
           *_decay(shown)]
  return Findings(
    "Staleness: Figures 5 and 8", list(_claims(first, shown, rates[0])), [table, where],
    [Figure("staleness_curves",
            "Figure 5: adversarial accuracy on the training set, on fresh examples (crafted for "
            f"the current weights) and on the stale ones trained on, at rate {rates[0]:g}; "
            f"{points[stale[-1]]:,} examples a point, {points[0]:,} without staleness.",
            lambda: curves.draw([(f"s = {s}", shown[s]) for s in shown]),
            f"{points[stale[-1]]:,} examples a point; s = 0: {points[0]:,}"),
     Figure("staleness_final", f"Figure 8: accuracy on {n:,} test images after training against s; "
                               "bars are 95 % intervals, "
            f"grey the paper's values and its break between {PAPER_HOLDS} and {PAPER_BREAKS}; s = "
            "0 stands apart, it has no logarithm.", lambda: _final(by), f"n = {n:,}")],
    {"staleness_final": [without(row, "right") for row in final],
     "staleness_curves": [{"learning_rate": row["learning_rate"], "s": row["s"], **point}
                          for row in data["curves"] for point in row["curve"]]}, notes)


def _claims(rows, shown, rate):
  plain, found = rows[0], breaks(rows)
  reached = (f"plain training at rate {rate:g} reaches "
             f"{percent(plain['adversarial_accuracy'], plain['n'])}")
  if found is None:
    yield Claim("There is a value of s above which adversarial accuracy breaks down.", None,
                f"{reached}: too little to break")
    return
  falls, half = found["falls"], found["half"]

  def at(s):
    return f"s = {s} ({percent(rows[s]['adversarial_accuracy'], rows[s]['n'])})"

  yield Claim("There is a value of s above which adversarial accuracy breaks down (paper: from 90 "
              "% to 5 %).", True if half else False if max(rows) >= PAPER_BREAKS else None,
              f"{reached}; " + (f"significantly less from {at(falls)} on" if falls
                                else f"not less up to {at(max(rows))}")
              + (f", less than half from {at(half)} on" if half
                 else f", less than half at none up to s = {max(rows)}"))
  yield Claim(f"The break, to less than half, lies between {PAPER_HOLDS} and {PAPER_BREAKS}.",
              _paper_break(rows),
              "; ".join(f"s = {s}: lost {compare(plain, rows[s])}"
                        for s in (PAPER_HOLDS, PAPER_BREAKS) if s in rows)
              or NOT_TESTED)
  late = {s: curves.late(curve) for s, curve in shown.items() if s}
  said = "; ".join(f"s = {s}: fresh {fresh:.0%}, stale {stale:.0%}"
                   for s, (fresh, stale) in late.items())
  beyond = [s for s in late if s >= PAPER_BREAKS]
  yield Claim(f"Networks with s = {PAPER_BREAKS} and more memorise stale examples: fresh accuracy "
              "falls far below stale.",
              all_of([late[s][1] - late[s][0] > APART for s in beyond]),
              f"means over the second half of training: {said}")
  tested = PAPER_HOLDS in rows
  yield Claim(f"With s = {PAPER_HOLDS} fresh accuracy tracks stale.",
              late[PAPER_HOLDS][1] - late[PAPER_HOLDS][0] <= TRACKS if tested else None,
              "as above" if tested else NOT_TESTED)
  level = PAPER_ADVERSARIAL["up to the break"]
  up_to = [row for s, row in rows.items() if s <= PAPER_HOLDS]
  yield Claim(f"Up to s = {PAPER_HOLDS} adversarial accuracy on the test set is about the same, "
              f"about {level:.0%}, or more.",
              all_of([row["adversarial_accuracy"] >= level - SAME
                      and compare(plain, row).interval[1] < SAME
                      for row in up_to]) if tested else None,
              "; ".join(f"s = {row['s']}: {percent(row['adversarial_accuracy'])}" for row in up_to))
  yield Claim(f"With s = {PAPER_HOLDS} natural accuracy is about {PAPER_NATURAL:.0%}.",
              rows[PAPER_HOLDS]["natural_accuracy"] >= PAPER_NATURAL - 0.005 if tested else None,
              percent(rows[PAPER_HOLDS]["natural_accuracy"], rows[PAPER_HOLDS]["n"]) if tested
              else NOT_TESTED)


def _paper_break(rows):
  """Whether accuracy is half of that of s = 0, or more, up to the paper's 32, and less from 64 on.

  Whether it is the same up to 32 is another claim.
  """
  plain = rows[0]["adversarial_accuracy"]
  broke = {s: broken(row["adversarial_accuracy"], plain) for s, row in rows.items()}
  if any(broke[s] for s in rows if s <= PAPER_HOLDS) or not all(
      broke[s] for s in rows if s >= PAPER_BREAKS):
    return False
  return True if PAPER_HOLDS in rows and PAPER_BREAKS in rows else None


def _decay(shown):
  """Lines on stale accuracy that collapses while the learning rate falls."""
  for s, curve in shown.items():
    best = max(curve, key=lambda row: row["stale_accuracy"])
    if s and curve[-1]["stale_accuracy"] < best["stale_accuracy"] / 2:
      yield (f"With s = {s} stale accuracy itself falls from {best['stale_accuracy']:.0%} at step "
             f"{best['step']:,} to {curve[-1]['stale_accuracy']:.0%} at the end, as the learning "
             "rate falls.")


def _final(by):
  figure, (axes,) = plots.grid(1, 2, width=4.2, height=3.2, sharex=True)
  values = sorted({s for rows in by.values() for s in rows})
  for axis, name in zip(axes, ("adversarial", "natural"), strict=True):
    position = plots.log_axis_with_zero(axis, values)
    for colour, (rate, rows) in zip(plots.COLOURS, by.items(), strict=False):
      if name == "adversarial":
        plots.with_intervals(axis, map(position, rows), list(rows.values()), color=colour,
                             label=f"here, rate {rate:g}")
      else:
        axis.plot(list(map(position, rows)), [row["natural_accuracy"] for row in rows.values()],
                  color=colour, marker=".",
                  label=f"here, rate {rate:g}")
    axis.axvspan(position(PAPER_HOLDS), position(PAPER_BREAKS), color="0.9", zorder=0,
                 label="paper's break")
    if name == "adversarial":
      holds, breaks_down = PAPER_ADVERSARIAL.values()
      ends = [position(values[0]), position(PAPER_HOLDS), position(PAPER_BREAKS),
              position(max(PAPER_BREAKS, values[-1]))]
      axis.plot(ends, [holds, holds, breaks_down, breaks_down], **plots.PAPER, label="paper")
    else:
      axis.plot(position(PAPER_HOLDS), PAPER_NATURAL, color=plots.PAPER["color"], marker="^",
                linestyle="none")
    plots.percent_axis(axis)
    axis.set_xlabel("staleness s")
    axis.set_ylabel(f"{name} accuracy on the test set")
  plots.legend_beside(figure, axes[0])
  return figure
