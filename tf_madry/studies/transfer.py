"""Do attacks carry over from one network to another? (§4, Table 1)"""

from typing import Any

import numpy as np

from tf_madry.studies import power
from tf_madry.studies.lab.lab import Lab, final_row
from tf_madry.studies.lab.paired import SIGNIFICANT, compare
from tf_madry.studies.output import plots
from tf_madry.studies.output.findings import (
  NOT_TESTED,
  Claim,
  Figure,
  Findings,
  Table,
  percent,
  without,
)

OPTIONS = ("k_list", "learning_rate")

# Table 1: {target κ, which is the attack's too: {source κ: adversarial accuracy on the test set}}.
PAPER = {1: {1: 0.9855, 4: 0.4863, 8: 0.2716, 128: 0.2836},
         4: {1: 0.5734, 4: 0.9998, 8: 0.5418, 128: 0.6031},
         8: {1: 0.9640, 4: 0.9727, 8: 0.9388, 128: 0.9426},
         128: {1: 0.9628, 4: 0.9669, 8: 0.9392, 128: 0.9170}}


def collect(lab: Lab) -> dict[str, Any]:
  """Measures every network of `power` under the attack of its own κ, crafted on each of them."""
  networks = {k: lab.network(k=k) for k in lab.options.k_list}
  return {"cells": [
    {"target": target, "source": source, "attack_k": target, **final_row(
      lab.accuracy(network, target, source=None if source == target else crafted_on))}
    for target, network in networks.items() for source, crafted_on in networks.items()]}


def shattered(cells: list[dict[str, Any]]) -> set[tuple[int, int]]:
  """{(target, source)} of the cells that show gradient shattering.

  No black-box attack can beat the best white-box one of the same strength. Where one crafted on
  another network leaves fewer images standing than the white-box attack, it is the target's own
  gradients that lead nowhere: that cell is marked, and the target's white-box cell with it. The two
  are compared on the same images (McNemar; Bonferroni over the sources), and have to differ by more
  than 2 points: by less the best attack of few steps falls short of what there is to be found.
  """
  white = {cell["target"]: cell for cell in cells if cell["source"] == cell["target"]}

  def beats(cell):
    paired = compare(white[cell["target"]], cell)
    significant = paired.p * max(1, len(white) - 1) < SIGNIFICANT
    return significant and paired.interval[0] > power.EQUAL_MARGIN

  marked = {(cell["target"], cell["source"]) for cell in cells if cell["source"] != cell["target"]
            and beats(cell)}
  return marked | {(target, target) for target, _ in marked}


def paper_value(target: int, source: int) -> float | None:
  """The paper's number for a cell, if it has one."""
  return PAPER.get(target, {}).get(source)


def findings(data: dict[str, Any], settings: dict[str, Any]) -> Findings:
  """As `study.Study` says."""
  cells, k_list = data["cells"], settings["k_list"]
  by, marked = {(cell["target"], cell["source"]): cell for cell in cells}, shattered(cells)

  def text(target, source):
    value, paper = by[target, source]["adversarial_accuracy"], paper_value(target, source)
    text = f"{value:.1%}" if paper is None else f"{value:.1%} ({paper:.2%})"
    return f"**{text}**" if (target, source) in marked else text

  table = Table(
    f"Table 1: adversarial accuracy on test images ({power.images(cells)}), the paper's in "
    "brackets; white-box on the diagonal; bold: gradient shattering (see `transfer.shattered`)",
    ["target κ", *(f"source κ = {source}" for source in k_list), "attack κ"],
    [[target, *(text(target, source) for source in k_list), target] for target in k_list])
  return Findings(
    "Transfer: Table 1", list(_claims(by, marked, k_list)), [table],
    [Figure("transfer", "Table 1 as measured, the paper's values in brackets; framed: gradient "
                        "shattering.",
            lambda: _matrix(by, marked, k_list), power.images(cells))],
    {"transfer": [without(cell, "right") | {"paper": paper_value(cell["target"], cell["source"]),
                                            "shattered": (cell["target"],
                                                          cell["source"]) in marked}
                  for cell in cells]},
    list(power.untrained(k_list)))


def _claims(by, marked, k_list):
  def lowest(target):
    return min((source for source in k_list if source != target),
               key=lambda source: by[target, source]["adversarial_accuracy"])

  def evidence(target):
    if not tested(target):
      return NOT_TESTED
    worst = lowest(target)
    return (f"white-box {percent(by[target, target]['adversarial_accuracy'])}, lowest black-box "
            f"{percent(by[target, worst]['adversarial_accuracy'])} (source κ = {worst}); white-box "
            f"minus that: {compare(by[target, target], by[target, worst])}")

  def tested(k):
    return k in k_list and len(k_list) > 1

  for k in (1, 4):
    yield Claim(f"The network with κ = {k} shatters its gradients: attacks of the same power do "
                "more to it when they are crafted on others than when crafted on itself,",
                (k, k) in marked if tested(k) else None, evidence(k))
    most = max(value for source, value in PAPER[k].items() if source != k)
    yield Claim(f"… and break it: {most:.0%} and less are left (Table 1).",
                by[k, lowest(k)]["high"] <= most if tested(k) else None, "as above")
  for k in (8, 128):
    # A network that is wrong anyway has nothing to mask.
    learnt = tested(k) and by[k, k]["adversarial_accuracy"] > 0.5
    yield Claim(f"The network with κ = {k} shows no gradient shattering.",
                (k, k) not in marked if learnt else None, evidence(k))
  for k in (k for k in k_list if k > 8 and k != 128):
    yield Claim(f"(Between the paper's: κ = {k}) shows no gradient shattering.",
                (k, k) not in marked if by[k, k]["adversarial_accuracy"] > 0.5 else None,
                evidence(k))


def _matrix(by, marked, k_list):
  figure, ((axis,),) = plots.grid(1, 1, width=5.2, height=4.2)
  values = np.array([[by[target, source]["adversarial_accuracy"] for source in k_list]
                     for target in k_list])
  image = axis.imshow(values, vmin=0, vmax=1, cmap="RdYlGn", alpha=0.75)
  for row, target in enumerate(k_list):
    for column, source in enumerate(k_list):
      paper = paper_value(target, source)
      axis.text(column, row, f"{values[row, column]:.1%}"
                + (f"\n({paper:.2%})" if paper is not None else ""),
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
