"""What does staleness do to a network that is robust already? (beside §5)

The networks of §5 have to become robust with stale examples: staleness can prevent that, or undo
it. Here the first is over.
"""

import statistics
from typing import Any

from tf_madry.studies.lab.lab import Lab, final_row
from tf_madry.studies.lab.paired import compare
from tf_madry.studies.output import plots
from tf_madry.studies.output.findings import Claim, Figure, Findings, Table, percent, without

OPTIONS = ("s_list", "constant_rates", "seeds", "learning_rate")
K = 8
# Of the steps of the network that it begins from, one in so many are added: 2,000 of 6,000.
SHARE = 3
# Share of the images; what loses more than that against s = 0 is no longer about as robust.
MARGIN = 0.05
FEWEST_RATES = 3  # that have to show where accuracy falls, before a unit of staleness can be told
FINEST = 2  # factor: neighbouring values of s have to be closer than that for it


def collect(lab: Lab) -> dict[str, Any]:
  """Trains one robust network on, with every s at every rate, from one or several seeds."""
  robust = lab.network(k=K)
  begin = lab.accuracy(robust, K)
  steps, seeds = max(1, robust.steps // SHARE), range(lab.options.seed,
                                                      lab.options.seed + lab.options.seeds)
  rows = []
  for seed in seeds:
    for rate in sorted(lab.options.constant_rates, reverse=True):
      for s in lab.options.s_list:
        network = lab.continued(robust, steps=steps, learning_rate=rate, seed=seed, s=s)
        rows.append({"seed": seed, "learning_rate": rate, "s": s,
                     **final_row(lab.accuracy(network, K)),
                     "curve": network.curve()})
  return {"begin": without(final_row(begin), "right"), "steps": steps, "final": rows}


def findings(data: dict[str, Any], settings: dict[str, Any]) -> Findings:
  """As `study.Study` says."""
  begin, n = data["begin"], data["begin"]["n"]
  by = {(row["learning_rate"], row["s"], row["seed"]): row for row in data["final"]}
  rates, s_list, seeds = (sorted({key[place] for key in by}) for place in range(3))

  def lost(rate, s, seed):
    return compare(by[rate, 0, seed], by[rate, s, seed])

  table = Table(
    f"Adversarial accuracy on {n:,} test images under PGD κ = {K} after {data['steps']:,} more "
    "steps; in brackets, what it lost against s = 0 of the same rate and seed, in points; to "
    f"begin with it was {percent(begin['adversarial_accuracy'], n)}",
    ["rate", "seed", *(f"s = {s}" for s in s_list)],
    [[f"{rate:g}", seed, *(percent(by[rate, s, seed]["adversarial_accuracy"])
                           + (f" ({100 * lost(rate, s, seed).difference:+.1f})" if s else "")
                           for s in s_list)]
     for rate in rates for seed in seeds])
  falls = {rate: _falls({s: [lost(rate, s, seed) for seed in seeds] for s in s_list if s})
           for rate in rates}
  where = Table(
    f"Where more than {MARGIN:.0%} of the images are lost, with every seed (the interval of each, "
    "on the same images)",
    ["rate", "not yet at s", "from s", "rate × s, between"],
    [[f"{rate:g}", below, above or "none",
      f"{rate * below:g} and {f'{rate * above:g}' if above else '∞'}"]
     for rate, (below, above) in falls.items()])
  of = f"n = {n:,}, {len(seeds)} seed{'s' if len(seeds) > 1 else ''}"
  return Findings(
    "Take-off: staleness once a network is robust", list(_claims(falls, s_list)), [table, where],
    [Figure("takeoff", "Adversarial accuracy on test images relative to s = 0 of the same rate and "
                       "seed, against s and against "
            "rate × s; a mark a seed, lines through their means. Where the curves on the right "
            "fall together, rate × s would be the unit of "
            "staleness.", lambda: _figure(by, rates, s_list, seeds), of)],
    {"takeoff": [without(row, "right", "curve") for row in data["final"]]},
    ["The learning rate is constant and Adam begins anew with averages of 0, for s = 0 as well."])


def _falls(lost):
  """(largest s up to which it is not lost, smallest s from which it is or None).

  Lost is more than the margin, with every seed.
  """
  surely = [s for s, several in lost.items()
            if all(paired.interval[0] > MARGIN for paired in several)]
  above = min(surely, default=None)
  return max([s for s in lost if above is None or s < above], default=0), above


def _claims(falls, s_list):
  said = "; ".join(f"rate {rate:g}: "
                   + (f"from s = {above}" if above else f"at none up to s = {max(s_list)}")
                   for rate, (_, above) in falls.items())
  yield Claim(f"(Not in the paper:) staleness of up to {max(s_list)} undoes robustness that is "
              "there.",
              any(above for _, above in falls.values()), f"more than {MARGIN:.0%} lost: {said}")
  yield Claim("(Not in the paper:) learning rate × s is the natural unit of staleness.",
              *_unit(falls, said))


def _unit(falls, said):
  """(verdict, evidence) on rate × s: seen where it fits all rates and s alone does not."""
  shown = {rate: found for rate, found in falls.items() if found[1]}
  coarse = [found for found in shown.values() if found[0] == 0 or found[1] / found[0] >= FINEST]
  product = _overlap([(rate * below, rate * (above or float("inf")))
                      for rate, (below, above) in falls.items()])
  alone = _overlap([(below, above or float("inf")) for below, above in falls.values()])
  fits = (f"a single rate × s {'fits' if product else 'does not fit'}, a single s "
          f"{'does' if alone else 'does not'}")
  if len(shown) >= 2 and not product:
    return False, f"{said}; {fits}"
  if len(shown) >= FEWEST_RATES and not coarse and not alone:
    return True, f"{said}; {fits}"
  return None, (f"{said}; {fits}; {len(shown)} of {len(falls)} rates show where accuracy falls"
                + (f", and values of s are {FINEST} times as far apart or more" if coarse else ""))


def _overlap(intervals):
  return max(low for low, _ in intervals) < min(high for _, high in intervals)


def _figure(by, rates, s_list, seeds):
  figure, (axes,) = plots.grid(1, 2, width=4.2, height=3.2, sharey=True)
  products = [rate * s for rate in rates for s in s_list if s]
  position = plots.log_axis_with_zero(axes[0], s_list)
  for colour, rate in zip(plots.COLOURS, rates, strict=False):
    relative = {s: [by[rate, s, seed]["adversarial_accuracy"]
                    / max(by[rate, 0, seed]["adversarial_accuracy"], 1e-9)
                    for seed in seeds] for s in s_list}
    means = [statistics.mean(values) for values in relative.values()]
    stale = [s for s in s_list if s]
    axes[0].plot(list(map(position, s_list)), means, color=colour, label=f"{rate:g}")
    axes[1].plot([rate * s for s in stale], means[-len(stale):], color=colour)
    for s, values in relative.items():
      axes[0].plot([position(s)] * len(values), values, ".", color=colour)
      if s:
        axes[1].plot([rate * s] * len(values), values, ".", color=colour)
  axes[1].set_xscale("log")
  plots.log_ticks(axes[1].xaxis)
  axes[1].set_xlim(min(products) / 1.2, max(products) * 1.2)
  axes[0].set_xlabel("staleness s")
  axes[1].set_xlabel("learning rate × s")
  axes[0].set_ylabel("adversarial accuracy,\nrelative to s = 0")
  plots.percent_axis(axes[0])
  plots.legend_beside(figure, axes[0], title="learning rate")
  return figure
