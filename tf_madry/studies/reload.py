"""Which age of adversarial examples breaks training: the mean one or the highest? (beside §5)

With a constant staleness of 64 training broke in §5. Workers that reload the weights every 100
steps have weights 0 to 99 steps old, and the paper's network was robust. Here the reload is
simulated as it is, beside constant staleness.
"""

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
from tf_madry.training.staleness import FRESH_EVERY

OPTIONS = ("r_list", "s_list", "learning_rate")
K = 8
PAPER_R = 100  # steps between the paper's reloads
NEARLY = 1 / 16  # share by which two ages may differ and be nearly the same
EQUAL = 0.02  # difference of accuracies that counts as none, the width of the paper's "89%–91%"
TICKS = (0, 4, 8, 16, 32, 64, 128, 256)  # ages
SAME = 0.05  # loss up to which a network is "about as robust"


def collect(lab: Lab) -> dict[str, Any]:
  """Trains with weights that craft renewed every R steps, and with a constant staleness.

  That is nearly the mean of the other; one of `s_list` that is nearly its highest is there too.
  """
  networks, s_list = {}, lab.options.s_list
  for every in sorted(lab.options.r_list, key=lambda every: abs(every - PAPER_R)):
    if every > 1:
      networks["reload", every] = lab.network(reload=every)
    for s in {constant(every, s_list), *(s for s in s_list if _nearly(s, every - 1))}:
      networks["constant", s] = lab.network(s=s)
  return {"final": [
    {"kind": kind, "value": value, "mean": value if kind == "constant" else (value - 1) / 2,
     "most": value if kind == "constant" else value - 1, **final_row(lab.accuracy(network, K)),
     "curve": network.curve()}
    for (kind, value), network in sorted(networks.items())]}


def constant(every: int, s_list: tuple[int, ...]) -> int:
  """The constant staleness to stand beside a renewal every so many steps.

  It is near the mean of that, and if possible one that is trained anyway.
  """
  mean = (every - 1) / 2
  nearest = min(s_list, key=lambda s: abs(s - mean))
  return nearest if _nearly(nearest, mean) else every // 2


def _nearly(one, other):
  return abs(one - other) <= NEARLY * max(one, other)


def findings(data: dict[str, Any], settings: dict[str, Any]) -> Findings:
  """As `study.Study` says."""
  by = {(row["kind"], row["value"]): row for row in data["final"]}
  plain, n = by["constant", 0], data["final"][0]["n"]
  ordered = sorted(by.values(), key=lambda row: (row["mean"], row["kind"]))
  table = Table(
    f"Accuracy on {n:,} test images after training, under PGD κ = {K}, by the age of the weights "
    "that craft",
    ["weights that craft", "age: mean", "most", "natural", "adversarial",
     "lost against age 0, on the same images"],
    [[_name(row), f"{row['mean']:g}", row["most"], percent(row["natural_accuracy"], n),
      percent(row["adversarial_accuracy"], n),
      str(compare(plain, row)) if row["most"] else "–"] for row in ordered])
  shown = [row for row in ordered if row["most"]]
  points = curves.examples(shown[0]["curve"], batch_size(settings), plain=False)
  return Findings(
    "Reload: mean age, highest age, or freshness now and then?", list(_claims(by)), [table],
    [Figure("reload_final", f"Adversarial accuracy on {n:,} test images against the mean age of "
                            "the weights that craft and "
            "against the highest; bars are 95 % intervals. Where the two curves fall together, "
            "that age is what counts.",
            lambda: _final(by), f"n = {n:,}"),
     Figure("reload_curves", "Adversarial accuracy on the training set during training, R renewed "
                             "and s constant; "
            f"{points:,} examples a point, but fresh ones of R are of one step in {FRESH_EVERY}.",
            lambda: curves.draw(*([(_name(row), row["curve"]) for row in shown
                                   if row["kind"] == kind] for kind in ("reload", "constant"))),
            f"{points:,} examples a point")],
    {"reload": [without(row, "right", "curve") for row in ordered]},
    ["Without a queue: what waits in one adds to these ages. A real run's are in the "
     "`staleness_mean` of its log. Fresh accuracy under a reload is measured at one step in "
     f"{FRESH_EVERY}."])


def _name(row):
  return f"{'R' if row['kind'] == 'reload' else 's'} = {row['value']}"


def _claims(by):
  plain = by["constant", 0]
  reloads = {every: row for (kind, every), row in by.items() if kind == "reload"}
  constants = {s: row for (kind, s), row in by.items() if kind == "constant" and s}
  paper = reloads.get(PAPER_R)
  yield Claim(f"Weights that are renewed every {PAPER_R} steps train a network about as robust as "
              "fresh ones do (§5).",
              _below(compare(plain, paper), SAME) if paper else None,
              f"R = {PAPER_R}: lost {compare(plain, paper)}" if paper else NOT_TESTED)
  for what, age in (("mean", "mean"), ("highest", "most")):
    pairs = _pairs(reloads, constants, age)
    yield Claim(f"(Not in the paper:) the {what} age decides: with the same one, a reload and a "
                f"constant staleness are equally robust (within {EQUAL:.0%}).",
                all_of([_equal(found) for found in pairs.values()]), _told(pairs))
  pairs = _pairs(reloads, constants, "mean")
  yield Claim("(Not in the paper:) freshness now and then counts: weights that are renewed make a "
              f"network more robust, by over {EQUAL:.0%}, than those that are always of their mean "
              "age.",
              all_of([found.interval[0] > EQUAL for found in pairs.values()]), _told(pairs))


def _pairs(reloads, constants, age):
  """{names: what the constant staleness loses against the reload} of those of nearly this age."""
  return {f"{_name(row)} against {_name(other)}": compare(row, other)
          for row in reloads.values() for other in constants.values()
          if _nearly(row[age], other[age])}


def _told(pairs):
  return "; ".join(f"{names}: {found}" for names, found in pairs.items()) or NOT_TESTED


def _below(paired, margin):
  low, high = paired.interval
  return True if high < margin else False if low > margin else None


def _equal(paired):
  low, high = paired.interval
  return True if low > -EQUAL and high < EQUAL else False if low > EQUAL or high < -EQUAL else None


def _final(by):
  figure, (axes,) = plots.grid(1, 2, width=4.0, height=3.2, sharey=True)
  for axis, age, label in zip(axes, ("mean", "most"), ("mean age", "highest age"), strict=True):
    position = plots.log_axis_with_zero(axis, TICKS)
    for colour, kind, text in (("tab:blue", "reload", "renewed every R steps"),
                               ("tab:orange", "constant", "constant s")):
      rows = sorted((row for row in by.values() if row["kind"] == kind), key=lambda row: row[age])
      plots.with_intervals(axis, [position(row[age]) for row in rows], rows, color=colour,
                           label=text)
    plots.percent_axis(axis)
    axis.set_xlabel(f"{label} of the weights that craft (steps)")
  axes[0].set_ylabel("adversarial accuracy on the test set")
  plots.legend_beside(figure, axes[0])
  return figure
