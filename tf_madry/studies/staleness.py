"""How old may adversarial examples be? (§5, Figures 5 and 8)"""

import itertools
import statistics

from tf_madry.studies.lab import networks as labs
from tf_madry.studies.output import plots
from tf_madry.studies.output.outcomes import Claim, Figure, Findings, Table, percent

OPTIONS = ("s_list", "rates")
K = 8  # of training and of the final attack, as in all of §5

# Figure 8 and the text below it: the test accuracies up to s = 32, and above.
PAPER_HOLDS, PAPER_BREAKS = 32, 64
PAPER_ADVERSARIAL = {"up to the break": 0.90, "beyond": 0.05}
PAPER_NATURAL = 0.98
SAME = 0.05  # difference of accuracies that are "about the same"
TRACKS, APART = 0.1, 0.2  # how far stale accuracy is above fresh: up to the one they go together, from the other not
SMOOTHING = 3  # log lines that a point of the curves is the mean of


def measure(lab):
  """Trains with every s at the first rate; at the others as few as it takes to find the break by bisection."""
  first, *others = lab.options.rates
  networks = {(first, s): lab.network(staleness=s, learning_rate=first) for s in lab.options.s_list}
  accuracy = {key: lab.accuracy(network, K) for key, network in networks.items()}
  for rate in others:
    def adversarial(s, rate=rate):
      networks[rate, s] = lab.network(staleness=s, learning_rate=rate)
      accuracy[rate, s] = lab.accuracy(networks[rate, s], K)
      return accuracy[rate, s]["adversarial_accuracy"]
    bisect([s for s in lab.options.s_list if s], adversarial)
  final, curves = [], []
  for (rate, s), network in sorted(networks.items()):
    result = accuracy[rate, s]
    low, high = result["adversarial_interval"]
    final.append({"learning_rate": rate, "s": s, "n": result["n"], "natural_accuracy": result["natural_accuracy"],
                  "adversarial_accuracy": result["adversarial_accuracy"], "low": low, "high": high})
    curves += [{"learning_rate": rate, "s": s, "step": row["step"],
                "fresh_accuracy": row.get("fresh_accuracy", row["adversarial_accuracy"]),
                "stale_accuracy": row.get("stale_accuracy", row["adversarial_accuracy"])} for row in network.rows]
  return {"final": final, "curves": curves}


def broken(adversarial, plain):
  """Whether staleness broke a network: it has less than half of the adversarial accuracy of plain training."""
  return adversarial < plain / 2


def bisect(values, adversarial):
  """Finds the smallest of ascending values of s that breaks training, given that all larger ones do.

  Args:
    values: of s, above 0.
    adversarial: from s to the final accuracy; called for 0 and for about log2(len(values) + 1) of the values.

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


def breaks(final, learnt=0.3):
  """{rate: (largest s that holds, smallest s that breaks or None)}.

  Rates at which plain training itself has not learnt to be robust (below `learnt`) are left out: nothing can break there.
  """
  found = {}
  for rate, rows in itertools.groupby(final, key=lambda row: row["learning_rate"]):
    accuracy = {row["s"]: row["adversarial_accuracy"] for row in rows}
    if accuracy[0] < learnt:
      continue
    first = min((s for s in accuracy if broken(accuracy[s], accuracy[0])), default=None)
    found[rate] = max(s for s in accuracy if first is None or s < first), first
  return found


def findings(data, settings):
  """As `tf_madry.studies` says."""
  final, rates = data["final"], settings["rates"]
  n, found = final[0]["n"], breaks(final)
  table = Table(
    f"Accuracy on {n:,} test images after training with staleness s, under PGD κ = {K}, with 95 % intervals (paper: 90 % "
    f"up to s = {PAPER_HOLDS}, about 5 % beyond; natural about 98 % at s = 32)",
    ["learning rate", "s", "rate × s", "natural", "adversarial"],
    [[f"{row['learning_rate']:g}", row["s"], f"{row['learning_rate'] * row['s']:g}",
      percent(row["natural_accuracy"], n), percent(row["adversarial_accuracy"], n)] for row in final])
  where = Table(
    "Where the break lies at each learning rate: below half of the accuracy that s = 0 reaches",
    ["learning rate", "holds up to s", "breaks at s", "rate × s, between"],
    [[f"{rate:g}", holds, breaks_at or "none", f"{rate * holds:g} and {rate * breaks_at:g}" if breaks_at else
      f"{rate * holds:g} and ∞"] for rate, (holds, breaks_at) in found.items()])
  steps = max(row["step"] for row in data["curves"])
  largest = max(settings["s_list"])
  every, batch = min(row["step"] for row in data["curves"]), labs.batch_size(settings)
  notes = [labs.size(settings),
           "The queue is filled before training; with ε and the learning rate on a schedule, a batch has the ε of the step "
           "that trains on it.",
           f"s = {largest} is {largest / steps:.0%} of the {steps:,} steps; in the paper 64 is 0.1 % of 60,000.",
           *(_recovery(data["curves"], found) if settings["scale"] < 1 else ())]  # at full size the rate does not fall
  return Findings(
    "Staleness: Figures 5 and 8", _claims(data, found, rates), [table, where],
    [Figure("staleness_curves", "Figure 5: adversarial accuracy on the training set, on fresh examples (crafted for the "
            f"current weights) and on the stale ones trained on, at rate {rates[0]:g}; means over {SMOOTHING} log lines, "
            f"each of {every * batch:,} examples ({every} steps of batch {batch}); without staleness, of one batch of {batch}.",
            lambda: _curves(data, rates[0]), f"{SMOOTHING * every * batch:,} examples a point; s = 0: {SMOOTHING * batch}"),
     Figure("staleness_final", f"Figure 8: accuracy on {n:,} test images after training against s, by learning rate; "
            "bars are 95 % intervals, grey the paper's values and its break between 32 and 64.",
            lambda: _final(data, rates), f"n = {n:,}"),
     Figure("staleness_unit", "The same against learning rate × s: curves of different rates that fall together would make "
            "it the natural unit of staleness.", lambda: _unit(data, rates), f"n = {n:,}")],
    {"staleness_final": final, "staleness_curves": data["curves"]}, notes)


def _claims(data, found, rates):
  rate = rates[0]
  rows = {row["s"]: row for row in data["final"] if row["learning_rate"] == rate}
  holds, first = found.get(rate, (0, None))
  untrained = rate not in found
  beyond = [row for s, row in rows.items() if first is not None and s >= first]
  late = {s: _late(data["curves"], rate, s) for s in rows if s}
  gap = {s: stale - fresh for s, ((fresh, stale), _) in late.items()}
  said = "; ".join(f"s = {s}: fresh {fresh:.0%}, stale {stale:.0%} (end: {last_fresh:.0%}, {last_stale:.0%})"
                   for s, ((fresh, stale), (last_fresh, last_stale)) in late.items())
  paper_s = None if untrained else rows.get(PAPER_HOLDS)
  up_to, level = [row for s, row in rows.items() if s <= PAPER_HOLDS], PAPER_ADVERSARIAL["up to the break"]
  claims = [
    Claim("There is a value of s above which adversarial accuracy breaks down (paper: from 90 % to 5 %, between 32 and 64).",
          None if untrained else first is not None,
          f"rate {rate:g}: plain training reaches {percent(rows[0]['adversarial_accuracy'])}; " + (
            "too little to break" if untrained else
            f"holds up to s = {holds} ({percent(rows[holds]['adversarial_accuracy'])})" + (
              f", at s = {first} {percent(rows[first]['adversarial_accuracy'])}" if first is not None else ""))),
    Claim("The break lies between 32 and 64.", None if untrained else _paper_break(holds, first),
          "cannot be said" if untrained else
          f"between {holds} and {first}" if first is not None else f"above {holds}, the largest that was tried"),
    Claim("Networks beyond it memorise stale examples: fresh accuracy falls far below stale.",
          None if untrained or not beyond else any(gap[row["s"]] > APART for row in beyond),
          f"means over the second half of training: {said}"),
    Claim(f"With s = {PAPER_HOLDS} fresh accuracy tracks stale.", paper_s and gap[PAPER_HOLDS] <= TRACKS,
          "as above" if paper_s else "not tested"),
    Claim(f"Up to s = {PAPER_HOLDS} adversarial accuracy on the test set is about the same, about "
          f"{level:.0%}.",
          paper_s and all(abs(row["adversarial_accuracy"] - other) <= SAME
                          for row in up_to for other in (level, rows[0]["adversarial_accuracy"])),
          "; ".join(f"s = {row['s']}: {percent(row['adversarial_accuracy'])}" for row in up_to)),
    Claim(f"With s = {PAPER_HOLDS} natural accuracy is about {PAPER_NATURAL:.0%}.",
          paper_s and paper_s["natural_accuracy"] >= PAPER_NATURAL - 0.005,
          percent(paper_s["natural_accuracy"], paper_s["n"]) if paper_s else "not tested")]
  return [*claims, _unit_claim(found)]


def _paper_break(holds, first):
  """Whether the break lies where the paper's does; None where too few values of s were tried to tell."""
  if first is None or first <= PAPER_HOLDS or holds >= PAPER_BREAKS:
    return False
  return True if holds >= PAPER_HOLDS and first <= PAPER_BREAKS else None


def _accuracies(curves, rate, s):
  """(fresh, stale) accuracy by log line."""
  return [(row["fresh_accuracy"], row["stale_accuracy"]) for row in curves if (row["learning_rate"], row["s"]) == (rate, s)]


def _late(curves, rate, s):
  """(fresh, stale) accuracy, the means over the second half of training, and at its end."""
  rows = _accuracies(curves, rate, s)
  half = rows[len(rows) // 2:]
  return tuple(map(statistics.mean, zip(*half, strict=True))), rows[-1]


def _recovery(curves, found):
  """A line on rates at which the largest s that holds does so in the end alone, with less than half of it midway."""
  told = []
  for rate, (s, _) in found.items():
    fresh = [accuracy for accuracy, _ in _accuracies(curves, rate, s)]
    midway = statistics.mean(fresh[2 * len(fresh) // 5:-(-3 * len(fresh) // 5)])
    if s and midway < fresh[-1] / 2:
      told.append(f"from {midway:.0%} to {fresh[-1]:.0%} at rate {rate:g}, s = {s}")
  if told:
    yield ("Even where training holds it is broken for most of the time and recovers only as the learning rate falls: fresh "
           f"accuracy rises, from midway to the end, {'; '.join(told)}.")


def _unit_claim(found):
  claim = "(Not in the paper:) learning rate × s is the natural unit of staleness."
  if len(found) < 2 or all(first is None for _, first in found.values()):
    return Claim(claim, None, "there are not two rates that learnt, and a break at one of them")
  known = {rate: (holds, float("inf") if first is None else first) for rate, (holds, first) in found.items()}

  def overlap(intervals):
    return max(low for low, _ in intervals) < min(high for _, high in intervals)

  product = overlap([(rate * low, rate * high) for rate, (low, high) in known.items()])
  alone = overlap(list(known.values()))
  evidence = "; ".join(f"rate {rate:g}: s from {low} to {high}, rate × s from {rate * low:g} to {rate * high:g}"
                       for rate, (low, high) in known.items())
  if product == alone:
    verdict = "the rates fit one value of either" if product else "the rates fit no one value of either"
    return Claim(claim, None if product else False, f"{evidence}: {verdict}")
  if product:
    return Claim(claim, True, f"{evidence}: a single rate × s fits, no single s does")
  low, high = max(low for low, _ in known.values()), min(high for _, high in known.values())
  return Claim(claim, False, f"{evidence}: no single rate × s fits; all {len(known)} rates break between {low} and {high} "
                             "at this scale, one seed")


def _curves(data, rate):
  rows = [row for row in data["curves"] if row["learning_rate"] == rate]
  values = sorted({row["s"] for row in rows})
  columns = min(4, len(values))
  figure, axes = plots.grid(-(-len(values) // columns), columns, width=2.7, height=2.2, sharex=True, sharey=True)
  for axis in axes.flat[len(values):]:
    axis.set_visible(False)
  for axis, s in zip(axes.flat, values, strict=False):
    own = [row for row in rows if row["s"] == s]
    for name, colour in (("stale", "tab:orange"), ("fresh", "tab:blue")) if s else (("fresh", "tab:blue"),):
      axis.plot(_smooth([row["step"] for row in own]), _smooth([row[f"{name}_accuracy"] for row in own]), color=colour,
                label=name)
    axis.set_title(f"s = {s}")
    plots.percent_axis(axis)
    axis.set_xlabel("training step")
    axis.xaxis.set_tick_params(labelbottom=True)
  for line in axes:
    line[0].set_ylabel("adversarial accuracy")
  plots.legend_beside(figure, axes.flat[len(values) - 1], title="examples")
  return figure


def _smooth(values):
  size = min(SMOOTHING, len(values))
  return [sum(values[start:start + size]) / size for start in range(len(values) - size + 1)]


def _final(data, rates):
  figure, (axes,) = plots.grid(1, 2, width=4.2, height=3.2)
  for axis, name in zip(axes, ("adversarial", "natural"), strict=True):
    # s = 0 has no logarithm; it stands at 1/2, and the axis says so.
    _against(axis, data, rates, name, lambda row: max(row["s"], 0.5))
    axis.axvspan(PAPER_HOLDS, PAPER_BREAKS, color="0.85", zorder=0, label="paper's break")
    if name == "adversarial":
      holds, breaks_down = PAPER_ADVERSARIAL.values()
      most = max(PAPER_BREAKS, *(row["s"] for row in data["final"]))
      axis.plot([0.5, PAPER_HOLDS, PAPER_BREAKS, most], [holds, holds, breaks_down, breaks_down], **plots.PAPER,
                label="paper")
    else:
      axis.plot(PAPER_HOLDS, PAPER_NATURAL, color=plots.PAPER["color"], marker="^", linestyle="none")
    axis.set_xscale("log", base=2)
    ticks = sorted({row["s"] for row in data["final"]})
    axis.set_xticks([max(s, 0.5) for s in ticks], ticks)
    axis.set_xlabel("staleness s")
    axis.set_ylabel(f"{name} accuracy on the test set")
  plots.legend_beside(figure, axes[0], title="learning rate")
  return figure


def _unit(data, rates):
  figure, ((axis,),) = plots.grid(1, 1, width=4.8, height=3.2)
  _against(axis, data, rates, "adversarial", lambda row: row["s"] * row["learning_rate"] or None)
  axis.set_xscale("log")
  plots.log_ticks(axis.xaxis)
  axis.set_xlabel("learning rate × staleness")
  axis.set_ylabel("adversarial accuracy on the test set")
  axis.legend(title="learning rate")
  return figure


def _against(axis, data, rates, name, where):
  for colour, rate in zip(plots.COLOURS, rates, strict=False):
    rows = [row for row in data["final"] if row["learning_rate"] == rate and where(row) is not None]
    values = [row[f"{name}_accuracy"] for row in rows]
    if name == "adversarial":
      axis.errorbar([where(row) for row in rows], values,
                    [[value - row["low"] for value, row in zip(values, rows, strict=True)],
                     [row["high"] - value for value, row in zip(values, rows, strict=True)]],
                    color=colour, marker=".", capsize=2, label=f"{rate:g}")
    else:
      axis.plot([where(row) for row in rows], values, color=colour, marker=".", label=f"{rate:g}")
  plots.percent_axis(axis)
