"""How strong must the attacker be that a network is trained against? (§4, Figures 3 and 4)"""

from tf_madry.studies.lab import networks as labs
from tf_madry.studies.output import plots
from tf_madry.studies.output.outcomes import Claim, Figure, Findings, Table, percent
from tf_madry.training.progress import duration

OPTIONS = ("k_list", "learning_rate")
STRONGEST = 128  # of the paper's attackers; the last word on every network
POWERS = [2**n for n in range(8)]  # the paper's sweep
NOT_TESTED = "not tested: no such network was trained"

# §4, "Towards a balance point": all networks with κ ≥ 8, on the test set.
PAPER_NATURAL = 0.98
PAPER_ADVERSARIAL = (0.89, 0.91)
ROBUST = 8  # the κ from which §4 finds networks robust to all attackers
TOLERANCE = 0.05  # by which a robust network may stand worse against any attacker than against the one of its training


def measure(lab):
  """Trains a network for every κ; measures it during training under all of them, and afterwards under κ = 128 too."""
  k_list = lab.options.k_list
  networks = {k: lab.network(k=k) for k in k_list}
  curves, final = [], []
  for k, network in networks.items():
    for step in lab.points(network.steps):
      for split in ("test", "train"):
        for attacker in k_list:
          result = lab.accuracy(network, attacker, split=split, n=lab.curve_n, step=step)
          curves.append({"k": k, "step": step, "split": split, "attacker": attacker, **_numbers(result)})
    for attacker in sorted({*k_list, STRONGEST}):
      final.append({"k": k, "attacker": attacker, **_numbers(lab.accuracy(network, attacker)),
                    "training_seconds": network.seconds})
  return {"curves": curves, "final": final}


def _numbers(result):
  low, high = result["adversarial_interval"]
  return {"n": result["n"], "natural_accuracy": result["natural_accuracy"],
          "adversarial_accuracy": result["adversarial_accuracy"], "low": low, "high": high,
          "adversarial_loss": result["adversarial_loss"]}


def findings(data, settings):
  """As `tf_madry.studies` says."""
  final, k_list = data["final"], settings["k_list"]
  attackers = sorted({row["attacker"] for row in final})
  by = {(row["k"], row["attacker"]): row for row in final}
  n, curve_n = final[0]["n"], data["curves"][0]["n"]
  table = Table(
    f"Accuracy on {n:,} test images after training, with 95 % intervals (paper, κ ≥ 8: natural about 98 %, adversarial "
    "89 to 91 %)",
    ["training κ", "training time", "natural", *(f"PGD κ = {attacker}" for attacker in attackers)],
    [[k, _time(by[k, k]), percent(by[k, k]["natural_accuracy"], n),
      *(percent(by[k, attacker]["adversarial_accuracy"], n) for attacker in attackers)] for k in k_list])
  shown = f"{curve_n:,} images of each set"
  notes = [labs.size(settings), *untrained(k_list)]
  return Findings(
    "Attacker power: Figures 3 and 4", _claims(by, k_list, attackers), [table],
    [Figure("power_loss", f"Figure 3: adversarial loss on the test set during training, by training κ ({shown}).",
            lambda: _curves(data, k_list, "adversarial_loss", ("test",)), f"n = {curve_n:,}"),
     Figure("power_accuracy", f"Figure 4: adversarial accuracy on training and test set during training ({shown}).",
            lambda: _curves(data, k_list, "adversarial_accuracy", ("train", "test")), f"n = {curve_n:,}"),
     Figure("power_final", f"After training: accuracy and training time against κ ({n:,} test images; bars are 95 % "
            "intervals, grey the paper's values for κ ≥ 8).", lambda: _final(by, k_list, attackers), f"n = {n:,}")],
    {"power_curves": data["curves"], "power_final": final}, notes)


def untrained(k_list):
  """Lines on which of the paper's attackers no network was trained against, be it one or none."""
  left_out = [k for k in POWERS if k not in k_list]
  if left_out:
    yield (f"No network was trained with κ = {', '.join(map(str, left_out))}: what the paper says of them is not tested"
           + (f", but κ = {max(k_list)} stands for its 128." if ROBUST < max(k_list) < STRONGEST else "."))


def _claims(by, k_list, attackers):
  strongest = attackers[-1]
  weak = [k for k in k_list if k < ROBUST]

  def drop(k):
    return f"κ = {k}: {percent(by[k, k]['adversarial_accuracy'])} under itself, " \
           f"{percent(by[k, strongest]['adversarial_accuracy'])} under κ = {strongest}"

  return [
    Claim(f"Networks with κ ≤ 4 shatter their gradients: they stand against their own attacker, not against κ = {STRONGEST}.",
          all(by[k, k]["low"] > by[k, strongest]["high"] for k in weak) if weak else None,
          "; ".join(map(drop, weak)) or NOT_TESTED),
    *_robust_claims("The network with κ = 8 is", by, [k for k in k_list if k == ROBUST], attackers),
    *_robust_claims("Networks with κ = 16 to 128 are", by, [k for k in k_list if k > ROBUST], attackers),
    _balance_claim(by, k_list, strongest)]


def _balance_claim(by, k_list, strongest):
  most = k_list[-1]
  tested = ROBUST in k_list and most > ROBUST
  return Claim(
    f"κ = {ROBUST} is the balance point: stronger attackers in training take longer and make nothing more robust.",
    by[ROBUST, strongest]["high"] >= by[most, strongest]["low"] if tested else None,
    "; ".join(f"κ = {k}: {percent(by[k, strongest]['adversarial_accuracy'], by[k, strongest]['n'])} under κ = {strongest}, "
              f"trained in {_time(by[k, k])}" for k in (ROBUST, most)) if tested else NOT_TESTED)


def _robust_claims(who, by, those, attackers):
  def own_and_worst(k):
    return by[k, k]["adversarial_accuracy"], min(by[k, attacker]["adversarial_accuracy"] for attacker in attackers)

  strongest = attackers[-1]
  return [
    Claim(f"{who} robust to all attackers,",
          all(own - worst <= TOLERANCE and worst > 0.5 for own, worst in map(own_and_worst, those)) if those else None,
          "; ".join(f"κ = {k}: {own:.1%} under itself, {worst:.1%} at the least" for k in those
                    for own, worst in [own_and_worst(k)])
          or NOT_TESTED),
    Claim("… with about 98 % natural accuracy and 89 to 91 % adversarial.",
          all(by[k, k]["natural_accuracy"] >= PAPER_NATURAL - 0.005 and by[k, strongest]["high"] >= PAPER_ADVERSARIAL[0]
              for k in those) if those else None,
          "; ".join(f"κ = {k}: natural {percent(by[k, k]['natural_accuracy'])}, under κ = {strongest} "
                    f"{percent(by[k, strongest]['adversarial_accuracy'])}" for k in those) or NOT_TESTED)]


def _time(row):
  return duration(row["training_seconds"]) if row["training_seconds"] else "not measured"


def _curves(data, k_list, value, splits):
  figure, axes = plots.grid(len(splits), len(k_list), width=2.4, height=2.3, sharex=True, sharey=True)
  for line, split in zip(axes, splits, strict=True):
    for axis, k in zip(line, k_list, strict=True):
      for colour, attacker in zip(plots.COLOURS, k_list, strict=False):
        rows = [row for row in data["curves"] if (row["k"], row["split"], row["attacker"]) == (k, split, attacker)]
        axis.plot([row["step"] for row in rows], [row[value] for row in rows], color=colour, marker=".",
                  label=f"κ = {attacker}")
      axis.set_xlim(left=0)
    line[0].set_ylabel(f"{value.replace('_', ' ')}\n({split} set)")
  for axis, k in zip(axes[0], k_list, strict=True):
    axis.set_title(f"trained with κ = {k}")
  for axis in axes[-1]:
    axis.set_xlabel("training step")
  if value == "adversarial_accuracy":
    plots.percent_axis(axes[0, 0])
  else:
    # A network that hides its gradients has losses out of all proportion to those of a robust one.
    axes[0, 0].set_yscale("log")
    plots.log_ticks(axes[0, 0].yaxis)
  plots.legend_beside(figure, axes[0, 0], title="attacker")
  return figure


def _final(by, k_list, attackers):
  figure, ((time, accuracy),) = plots.grid(1, 2, width=4.6, height=3.0, width_ratios=[1, 1.4])
  positions = range(len(k_list))
  rows = [by[k, k] for k in k_list]
  accuracy.plot(positions, [row["natural_accuracy"] for row in rows], "k.-", label="natural")
  for colour, attacker in zip(plots.COLOURS, attackers, strict=False):
    attacked = [by[k, attacker] for k in k_list]
    values = [row["adversarial_accuracy"] for row in attacked]
    accuracy.errorbar(positions, values, [[value - row["low"] for value, row in zip(values, attacked, strict=True)],
                                          [row["high"] - value for value, row in zip(values, attacked, strict=True)]],
                      color=colour, marker=".", capsize=2, label=f"PGD κ = {attacker}")
  accuracy.axhline(PAPER_NATURAL, **plots.PAPER, label="paper, natural")
  accuracy.axhspan(*PAPER_ADVERSARIAL, color="0.8", zorder=0, label="paper, adversarial")
  plots.percent_axis(accuracy)
  accuracy.set_ylabel("accuracy on the test set")
  plots.legend_beside(figure, accuracy)
  time.bar(positions, [(row["training_seconds"] or 0) / 60 for row in rows], color="tab:blue", width=0.6)
  time.set_ylabel("training time (minutes)")
  for axis in (accuracy, time):
    axis.set_xticks(positions, k_list)
    axis.set_xlabel("training κ")
  return figure
