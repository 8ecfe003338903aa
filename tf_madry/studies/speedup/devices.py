"""Simulated: a device for each process, up to 64 workers, at the costs here and at the paper's."""

import itertools
from collections.abc import Iterator
from typing import Any

from tf_madry.studies.lab import simulation
from tf_madry.studies.lab.simulation import Costs
from tf_madry.studies.output import plots
from tf_madry.studies.output.findings import Claim, Figure, Table
from tf_madry.studies.speedup import here

WORKERS = (*range(1, 17), 24, 32, 48, 64)
LISTED = (*range(1, 9), 12, 16, 32, 64)  # in the table; the CSV file has all
SHOWN = (1, 4, 7, 16, 64)  # whose staleness is plotted

# §5 and Figure 9, by number of GPUs, of which one is the trainer's, which does not assist: what is
# said, and about where that is.
PAPER = {2: ("slightly worse than 2", 2.0), 7: ("nearly 5", 5.0), 8: ("over 5", 5.0)}
# "approximately 8× as long to make an adversarial batch as it does to train on it", of batch 128.
PAPER_RATIO = 8
# Share of the ideal speed-up from which it is "slightly worse", and below it "nearly linear"
SLIGHTLY = 0.8


def collect(costs: Costs) -> dict[str, Any]:
  """Simulated with these costs, and with the paper's ratio of them."""
  return {"devices": _rows(costs), "paper": _rows(Costs(craft=PAPER_RATIO, learn=1.0))}


def _rows(costs):
  return [_row(costs, workers, assist)
          for assist, workers in itertools.product((True, False), WORKERS)]


def _row(costs, workers, assist):
  outcome = simulation.simulate(costs, workers=workers, assist=assist)
  return {"workers": workers, "assist": assist, "rate": outcome.rate,
          "speedup": outcome.rate * (costs.craft + costs.learn),
          "waiting": outcome.waiting, "blocked": outcome.blocked,
          **simulation.summary(outcome.staleness),
          "staleness": {str(age): count for age, count in outcome.staleness.items()}}


# What it says


def _cases(data):
  """(ratio of the costs, rows by (workers, whether the trainer assists)): here, and the paper's."""
  ratio = data["costs"]["craft"] / data["costs"]["learn"]
  return [(of, {(row["workers"], row["assist"]): row for row in data[name]})
          for of, name in ((ratio, "devices"), (PAPER_RATIO, "paper"))]


def claims(data: dict[str, Any]) -> Iterator[Claim]:
  """Claims on speed need devices, which a simulation is not; one was measured here."""
  cases = _cases(data)
  (_, by), (_, paper) = cases

  def bottleneck(workers):
    return f"from {workers} workers on" if workers else f"with none of up to {WORKERS[-1]} workers"

  said = "; ".join(
    f"ratio {ratio:.1f}: {'nearly linear' if linear else 'not linear'}, the trainer is the "
    f"bottleneck {bottleneck(workers)}, speed-up {1 + ratio:.1f}"
    for ratio, rows in cases for linear, workers in [_saturation(rows, ratio)])
  yield Claim("Speed-up is nearly linear until workers and trainer are equally fast, which is "
              f"near κ = {here.K} workers.", None,
              f"needs that many devices; arithmetic: {said}")
  alone = {row["assist"]: row for row in data["measured"] if row["workers"] == 1}
  arithmetic = (f"arithmetic at the paper's ratio: {paper[1, False]['waiting']:.0%} of its time "
                f"without, {paper[1, False]['speedup']:.2f}× and with its help "
                f"{paper[1, True]['speedup']:.2f}×")
  yield Claim("With one worker the trainer spends most of its time waiting; that is mended if it "
              "assists.",
              alone[False]["waiting"] > 0.5
              and min(alone[True]["speeds"]) > max(alone[False]["speeds"]) if alone else None,
              (f"measured here: {alone[False]['waiting']:.0%} of its time, "
               f"{here.spread(alone[False]['speeds'])} examples/s without and "
               f"{here.spread(alone[True]['speeds'])} with its help; " if alone else "")
              + arithmetic)
  for gpus, (text, _) in PAPER.items():
    yield Claim(f"Speed-up with {gpus} GPUs: {text}.", None,
                f"needs {gpus} GPUs; arithmetic at the paper's ratio, with nothing lost: "
                f"{paper[gpus - 1, False]['speedup']:.2f}×, with the trainer's help "
                f"{paper[gpus - 1, True]['speedup']:.2f}×; with the costs here "
                f"{by[gpus - 1, False]['speedup']:.2f}×")


def _saturation(by, ratio):
  """Whether speed-up is nearly linear, and from how many workers on it no longer grows.

  None for the second where it always does.
  """
  reached = next((workers for workers in WORKERS
                  if by[workers, True]["speedup"] >= 0.98 * (1 + ratio)), None)
  before = [workers for workers in WORKERS if workers < (reached or float("inf"))]
  return all(by[workers, True]["speedup"] >= SLIGHTLY * (1 + workers)
             for workers in before), reached


def tables(data: dict[str, Any]) -> Iterator[Table]:
  """By number of workers with the costs here, and the paper's values beside its ratio's."""
  costs, ((ratio, by), (_, paper)) = data["costs"], _cases(data)
  yield Table(
    f"Simulated, one device each: {1e3 * costs['craft']:.4g} ms to craft a batch, "
    f"{1e3 * costs['learn']:.4g} ms to train on it "
    f"({'given' if data['given'] else 'measured here, all cores busy'}; {here.batches(data)}; "
    f"ratio {ratio:.1f})",
    ["workers", "speedup", "without the trainer's help", "staleness: mean", "95 %", "max",
     "workers blocked"],
    [[workers, f"{by[workers, True]['speedup']:.2f}", f"{by[workers, False]['speedup']:.2f}",
      f"{by[workers, True]['staleness_mean']:.0f}", by[workers, True]["staleness_p95"],
      by[workers, True]["staleness_max"],
      f"{by[workers, True]['blocked']:.0%}"] for workers in LISTED])
  yield Table(
    f"The paper's speed-up, and as simulated with its ratio of {PAPER_RATIO} between crafting "
    "and training, one device each and nothing lost",
    ["GPUs", "paper", "simulated", "with the trainer's help"],
    [[gpus, said, f"{paper[gpus - 1, False]['speedup']:.2f}",
      f"{paper[gpus - 1, True]['speedup']:.2f}"]
     for gpus, (said, _) in PAPER.items()])


def figures(data: dict[str, Any]) -> Iterator[Figure]:
  """Figure 9, and how stale batches are."""
  (ratio, by), _ = _cases(data)
  yield Figure("speedup",
               "Figure 9: speed-up against κ = 8 on one device, simulated with one device each, at "
               "the ratio of costs here and at the paper's, and the paper's values.",
               lambda: _speedups(data), f"simulated; {here.batches(data)}")
  yield Figure("speedup_staleness",
               "Simulated staleness of the batches trained on, by number of workers (the trainer "
               "assists; queue of 16, a snapshot of the weights every 100 steps).",
               lambda: _staleness(by),
               f"simulated; crafting takes {ratio:.1f} times as long as training")


def records(data: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
  """Every number of workers."""
  return {"speedup_simulated": [
    {"ratio": ratio} | {name: value for name, value in row.items() if name != "staleness"}
    for ratio, by in _cases(data) for row in by.values()]}


def notes(data: dict[str, Any]) -> Iterator[str]:
  """What a simulation is worth, and what staleness it says of the paper's run."""
  old = _cases(data)[1][1][7, True]
  yield ("What is simulated is arithmetic: costs measured here or taken from the paper, and "
         "nothing lost to anything that the simulation does not know. Only several devices can "
         "test the paper's speed-ups: without GPUs they cannot be said.")
  yield ("With the paper's 7 workers, its ratio of costs, and a snapshot every 100 steps, a "
         f"batch is {old['staleness_mean']:.0f} steps old on average and {old['staleness_p95']} "
         "in one case of 20: what `staleness` says of such values matters here.")


def _speedups(data):
  figure, ((axis,),) = plots.grid(1, 1, width=6.6, height=3.6)
  for (ratio, rows), whose, line in zip(_cases(data), ("here", "paper"), (":", "-"), strict=True):
    for assist, colour in ((True, "tab:blue"), (False, "tab:orange")):
      axis.plot([1, *(workers + 1 for workers in WORKERS)],
                [1, *(rows[workers, assist]["speedup"] for workers in WORKERS)], color=colour,
                marker=".", linestyle=line,
                label=f"ratio {ratio:.1f} ({whose}), trainer\n"
                      f"{'assists' if assist else 'does not assist'}")
  ends = [1, 2 * PAPER_RATIO]
  axis.plot(ends, ends, color="0.75", zorder=0, linewidth=4, label="linear")
  axis.plot(2, PAPER[2][1], "kv", label="paper, slightly below 2")
  axis.plot([7, 8], [PAPER[7][1], PAPER[8][1]], "k^", label="paper, about 5")
  axis.set_xscale("log", base=2)
  axis.set_yscale("log", base=2)
  ticks = [1, 2, 4, 8, 16, 32, 64]
  axis.set_xticks(ticks, ticks)
  axis.set_yticks(ticks[:5], ticks[:5])
  axis.set_xlabel("devices: workers and one trainer")
  axis.set_ylabel("speed-up against κ = 8 on one device")
  plots.legend_beside(figure, axis)
  return figure


def _staleness(by):
  figure, ((axis,),) = plots.grid(1, 1, width=5.2, height=3.2)
  for colour, workers in zip(plots.COLOURS, SHOWN, strict=False):
    counts = {int(age): count for age, count in by[workers, True]["staleness"].items()}
    total, ages = sum(counts.values()), sorted(counts)
    shares = list(itertools.accumulate(counts[age] / total for age in ages))
    axis.step(ages, shares, where="post", color=colour,
              label=f"{workers} worker{'s' if workers > 1 else ''}")
  plots.percent_axis(axis)
  axis.set_xlabel("staleness (trainer steps)")
  axis.set_ylabel("batches that are no staler")
  axis.legend(loc="lower right")
  return figure
