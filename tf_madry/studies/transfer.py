"""Do attacks carry over from one network to another? (§4, Table 1)"""

import numpy as np

from tf_madry.studies import power
from tf_madry.studies.lab import networks as labs
from tf_madry.studies.output import plots
from tf_madry.studies.output.outcomes import Claim, Figure, Findings, Table, percent

OPTIONS = ("k_list", "learning_rate")

# Table 1: {target κ, which is the attack's too: {source κ: adversarial accuracy on the test set}}.
PAPER = {1: {1: 0.9855, 4: 0.4863, 8: 0.2716, 128: 0.2836},
         4: {1: 0.5734, 4: 0.9998, 8: 0.5418, 128: 0.6031},
         8: {1: 0.9640, 4: 0.9727, 8: 0.9388, 128: 0.9426},
         128: {1: 0.9628, 4: 0.9669, 8: 0.9392, 128: 0.9170}}


def measure(lab):
  """Measures every network of `power` under the attack of its own κ, crafted on each of them."""
  networks = {k: lab.network(k=k) for k in lab.options.k_list}
  cells = []
  for target, model in networks.items():
    for source, crafted_on in networks.items():
      result = lab.accuracy(model, target, source=None if source == target else crafted_on)
      low, high = result["adversarial_interval"]
      cells.append({"target": target, "source": source, "attack_k": target, "n": result["n"],
                    "adversarial_accuracy": result["adversarial_accuracy"], "low": low, "high": high})
  return {"cells": cells}


def shattered(cells):
  """{(target, source)} of the cells that show gradient shattering.

  No black-box attack can beat the best white-box one of the same strength. Where one crafted on another network leaves
  clearly less standing (the intervals do not overlap) than the white-box attack, it is the target's own gradients that
  lead nowhere: that cell is marked, and the target's white-box cell with it.
  """
  white = {cell["target"]: cell for cell in cells if cell["source"] == cell["target"]}
  marked = {(cell["target"], cell["source"]) for cell in cells if cell["high"] < white[cell["target"]]["low"]}
  return marked | {(target, target) for target, _ in marked}


def paper_value(target, source, k_list):
  """The paper's number for a cell, or None; the largest κ stands for the paper's 128."""
  names = {max(k_list): 128} if max(k_list) > 8 else {}
  return PAPER.get(names.get(target, target), {}).get(names.get(source, source))


def findings(data, settings):
  """As `tf_madry.studies` says."""
  cells, k_list = data["cells"], settings["k_list"]
  by, marked, n = {(cell["target"], cell["source"]): cell for cell in cells}, shattered(cells), cells[0]["n"]

  def text(target, source):
    value, paper = by[target, source]["adversarial_accuracy"], paper_value(target, source, k_list)
    text = f"{value:.1%}" if paper is None else f"{value:.1%} ({paper:.2%})"
    return f"**{text}**" if (target, source) in marked else text

  table = Table(
    f"Table 1: adversarial accuracy on {n:,} test images, the paper's in brackets; white-box on the diagonal; bold: "
    "gradient shattering, the intervals say so (see `transfer.shattered`)",
    ["target κ", *(f"source κ = {source}" for source in k_list), "attack κ"],
    [[target, *(text(target, source) for source in k_list), target] for target in k_list])
  notes = [labs.size(settings), *power.untrained(k_list)]
  return Findings(
    "Transfer: Table 1", _claims(by, marked, k_list), [table],
    [Figure("transfer", f"Table 1 as measured ({n:,} test images), the paper's values in brackets; framed: gradient "
            "shattering.", lambda: _matrix(by, marked, k_list), f"n = {n:,}")],
    {"transfer": [cell | {"paper": paper_value(cell["target"], cell["source"], k_list),
                          "shattered": (cell["target"], cell["source"]) in marked} for cell in cells]}, notes)


def _claims(by, marked, k_list):
  def worst(target):
    values = [by[target, source]["adversarial_accuracy"] for source in k_list if source != target]
    return f"κ = {target}: white-box {percent(by[target, target]['adversarial_accuracy'])}, lowest black-box " \
           f"{percent(min(values)) if values else 'not measured'}"

  def no_shattering(k, here):
    trained = here in k_list and len(k_list) > 1
    # A network that is wrong anyway has nothing to hide.
    learnt = trained and by[here, here]["adversarial_accuracy"] > 0.5
    name = f"κ = {k}" if here == k else f"κ = {k} (here {here})"
    return Claim(f"The network with {name} shows no gradient shattering.", (here, here) not in marked if learnt else None,
                 worst(here) if trained else power.NOT_TESTED)

  weak, largest = [k for k in (1, 4) if k in k_list], max(k_list)
  return [
    Claim("Networks with κ = 1 and 4 are broken by attacks of the same power crafted on others, though not by their own.",
          all((k, k) in marked for k in weak) if len(weak) == 2 else None, "; ".join(map(worst, weak)) or power.NOT_TESTED),
    no_shattering(8, 8), no_shattering(128, largest if largest > 8 else 128)]


def _matrix(by, marked, k_list):
  figure, ((axis,),) = plots.grid(1, 1, width=5.2, height=4.2)
  values = np.array([[by[target, source]["adversarial_accuracy"] for source in k_list] for target in k_list])
  image = axis.imshow(values, vmin=0, vmax=1, cmap="RdYlGn", alpha=0.75)
  for row, target in enumerate(k_list):
    for column, source in enumerate(k_list):
      paper = paper_value(target, source, k_list)
      axis.text(column, row, f"{values[row, column]:.1%}" + (f"\n({paper:.2%})" if paper is not None else ""),
                ha="center", va="center")
      if (target, source) in marked:
        axis.add_patch(plots.frame(column - 0.47, row - 0.47, 0.94))
  axis.grid(False)
  axis.set_xticks(range(len(k_list)), k_list)
  axis.set_yticks(range(len(k_list)), k_list)
  axis.set_xlabel("source: trained with κ")
  axis.set_ylabel("target: trained with κ; attacked with the same")
  bar = figure.colorbar(image, ax=axis, label="adversarial accuracy on the test set")
  plots.percent_axis(bar.ax)
  return figure
