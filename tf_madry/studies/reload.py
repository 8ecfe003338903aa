"""Is it the mean age of adversarial examples that breaks training, the highest, or that no fresh ones come? (§5)"""

from tf_madry.studies.lab import networks as labs
from tf_madry.studies.output.outcomes import Findings, Table, percent

OPTIONS = ("r_list", "s_list", "learning_rate")
K = 8
PAPER_R = 100  # steps between the paper's reloads
NEARLY = 1 / 16  # share of a mean by which a constant staleness may differ from it


def measure(lab):
  """Trains with weights that craft renewed every R steps, and with a constant staleness of nearly the same mean."""
  rows = []
  for every in sorted(lab.options.r_list, key=lambda every: abs(every - PAPER_R)):
    reloaded = lab.network(reload=every if every > 1 else 0)
    s = constant(every, lab.options.s_list)
    for kind, value, network in (("reload", every, reloaded), ("constant", s, lab.network(staleness=s))):
      result = lab.accuracy(network, K)
      low, high = result["adversarial_interval"]
      rows.append({"of": every, "kind": kind, "value": value, "mean": (every - 1) / 2 if kind == "reload" else s,
                   "n": result["n"], "natural_accuracy": result["natural_accuracy"],
                   "adversarial_accuracy": result["adversarial_accuracy"], "low": low, "high": high,
                   "curve": [{"step": row["step"], "fresh_accuracy": row.get("fresh_accuracy", row["adversarial_accuracy"]),
                              "stale_accuracy": row.get("stale_accuracy", row["adversarial_accuracy"])}
                             for row in network.rows]})
  return {"final": sorted(rows, key=lambda row: (row["of"], row["kind"]))}


def constant(every, s_list):
  """The constant staleness beside a renewal every so many steps: near its mean, if possible one that is trained anyway."""
  mean = (every - 1) / 2
  nearest = min(s_list, key=lambda s: abs(s - mean))
  return nearest if abs(nearest - mean) <= NEARLY * mean else every // 2


def findings(data, settings):
  """As `tf_madry.studies` says."""
  table = Table(
    "Accuracy on test images after training", ["", "mean staleness", "natural", "adversarial"],
    [[f"{'R' if row['kind'] == 'reload' else 's'} = {row['value']}", f"{row['mean']:g}",
      percent(row["natural_accuracy"], row["n"]), percent(row["adversarial_accuracy"], row["n"])] for row in data["final"]])
  return Findings("Reload", [], [table], [], {"reload": [{name: value for name, value in row.items() if name != "curve"}
                                                         for row in data["final"]]}, [labs.size(settings)])
