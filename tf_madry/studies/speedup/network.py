"""Simulated: 1 to 512 workers on the nodes of a cluster, and where that stops being of use (§7)."""

import itertools
from collections.abc import Iterator
from typing import Any

from tf_madry.studies.lab import cluster, simulation
from tf_madry.studies.lab.simulation import Costs
from tf_madry.studies.output import plots
from tf_madry.studies.output.findings import Claim, Figure, Table

WORKERS = tuple(2**n for n in range(10))
GIGABITS = (10, 100)
LINES = dict(zip(GIGABITS, ("-", "--"), strict=True))  # of the figure
LATENCY = 5e-4  # seconds of a call's way, which is Ray's own time for the most part: an assumption
# What the trainer's thread does for a batch, for each worker in every step, and for a snapshot,
# where it was not measured: seconds, about what `benchmark cluster` finds on two cores.
ASSUMED = {"ingest": 1e-3, "watch": 2e-6, "publish": 8e-3}
RELOAD = 5e-3  # seconds of a worker to take over 13 MB, where it was not measured

# "Over 5×" on 8 GPUs takes 9 minutes (§5), for 60,000 steps (§6): 45 ms a step with κ = 8 on one,
# of which "approximately 8×" as much goes into crafting as into training.
GPU = {"craft": 0.040, "learn": 0.005}
FASTER = 10  # times, than the paper's GPUs
STRONG = 5  # times the crafting of κ = 8, for the challenge's κ = 40
ALL_TIME = 0.99  # share of what there is from which on something is what holds up the rest


def collect(costs: Costs, handover: dict[str, float] | None) -> dict[str, Any]:
  """Simulated with these costs, and with those of GPUs.

  Args:
    costs: of a process here.
    handover: what was measured of a cluster, see `benchmark.cluster.Handover`; None: assumed.
  """
  trainer = {name: (handover or ASSUMED)[name] for name in ASSUMED}
  passing = {"publish": trainer["publish"], "reload": costs.reload or RELOAD}
  cases = {
    "κ = 8, a core each as here": Costs(craft=costs.craft, learn=costs.learn, **passing),
    "κ = 8, the paper's GPUs": Costs(**GPU, **passing),
    f"κ = {8 * STRONG}, the paper's GPUs": Costs(
      craft=STRONG * GPU["craft"], learn=GPU["learn"], **passing),
    f"κ = {8 * STRONG}, GPUs {FASTER} times as fast": Costs(
      craft=STRONG * GPU["craft"] / FASTER, learn=GPU["learn"] / FASTER, **passing)}
  rows = []
  for (name, of_case), gigabits, workers in itertools.product(cases.items(), GIGABITS, WORKERS):
    link = cluster.Network(bandwidth=gigabits * 1e9 / 8, latency=LATENCY,
                           ingest=trainer["ingest"], watch=trainer["watch"])
    rows.append({"case": name, "gigabits": gigabits, "workers": workers,
                 **_row(of_case, link, workers)})
  return {"trainer": trainer, "reload": passing["reload"], "assumed": handover is None,
          "cases": {name: vars(of_case) for name, of_case in cases.items()}, "rows": rows}


def _row(costs, link, workers):
  outcome = cluster.simulate(costs, link, workers=workers)
  return {"rate": outcome.rate, "speedup": outcome.rate * (costs.craft + costs.learn),
          "own": outcome.own, "idle": outcome.idle, "batches_in": outcome.batches_in,
          "weights_out": outcome.weights_out, **simulation.summary(outcome.staleness),
          "bottleneck": _bottleneck(outcome)}


def _bottleneck(outcome):
  if outcome.weights_out >= ALL_TIME:
    return "link: weights"
  if outcome.batches_in >= ALL_TIME:
    return "link: batches"
  return "trainer" if outcome.own <= 1 - ALL_TIME else "workers"


# What it says


def _cases(data):
  """(case, Gb/s, rows by workers)."""
  found = data["network"]
  for name, gigabits in itertools.product(found["cases"], GIGABITS):
    yield name, gigabits, {row["workers"]: row for row in found["rows"]
                           if (row["case"], row["gigabits"]) == (name, gigabits)}


def claims(data: dict[str, Any]) -> Iterator[Claim]:
  """What many workers would be good for, which nobody has tried."""
  ends = "; ".join(
    f"{name}, {gigabits} Gb/s: {most['speedup']:.1f}× with {most['workers']} workers, batches "
    f"{_ages(most)} steps old"
    for name, gigabits, by in _cases(data) for most in [_most(by)])
  yield Claim("(Not in the paper:) workers on many machines make training faster still.", None,
              f"needs those machines; a projection, ages as mean / max: {ends}")


def _most(by):
  """The row of the fewest workers that reach the highest speed, within a hundredth."""
  fastest = max(row["speedup"] for row in by.values())
  return next(by[workers] for workers in sorted(by)
              if by[workers]["speedup"] >= ALL_TIME * fastest)


def tables(data: dict[str, Any]) -> Iterator[Table]:
  """Where it ends, and all of the way."""
  found = data["network"]
  yield Table(
    f"A projection: workers on a cluster, {cluster.Network.per_node} on a node and a device each, "
    "trainer on a node of its own: the fewest workers that are as fast as any number of up to "
    f"{WORKERS[-1]}, what there is too little of then and with {WORKERS[-1]}, and how many steps "
    "old a batch is, mean / max",
    ["costs", "craft / train", "Gb/s", "workers", "speedup", "bottleneck", "staleness",
     f"{WORKERS[-1]} workers: speedup", "bottleneck", "staleness"],
    [[name, " / ".join(_milliseconds(found["cases"][name][part]) for part in ("craft", "learn"))
      + " ms", gigabits, _most(by)["workers"],
      *(text for row in (_most(by), by[WORKERS[-1]])
        for text in (f"{row['speedup']:.1f}", row["bottleneck"], _ages(row)))]
     for name, gigabits, by in _cases(data)])
  yield Table(
    "The same by number of workers: speedup (staleness, mean / max)",
    ["workers", *(f"{name}, {gigabits} Gb/s" for name, gigabits, _ in _cases(data))],
    [[workers, *(f"{by[workers]['speedup']:.1f} ({_ages(by[workers])})"
                 for _, _, by in _cases(data))] for workers in WORKERS])


def _milliseconds(seconds):
  return f"{1e3 * seconds:,.0f}" if seconds >= 0.1 else f"{1e3 * seconds:.3g}"


def _ages(row):
  return f"{row['staleness_mean']:.0f} / {row['staleness_max']}"


def figures(data: dict[str, Any]) -> Iterator[Figure]:
  """Speed and staleness by number of workers."""
  yield Figure("speedup_network",
               "Projected: workers on a cluster. Left speed-up against one device, right staleness: "
               "the mean, and thinner above it the oldest batch.",
               lambda: _draw(data),
               f"a projection, {cluster.Network.per_node} workers on a node, a device each")


def records(data: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
  """Every row."""
  return {"speedup_network": data["network"]["rows"]}


def notes(data: dict[str, Any]) -> Iterator[str]:
  """What is assumed."""
  found = data["network"]
  trainer = found["trainer"]
  yield (
    "Of the cluster, the costs of a Ray call, of taking a batch in and of looking after workers "
    f"are {'assumed' if found['assumed'] else 'measured here'} (the trainer's thread: "
    f"{1e3 * trainer['ingest']:.2f} ms a batch, {1e6 * trainer['watch']:.1f} µs a worker and step, "
    f"{1e3 * trainer['publish']:.1f} ms a snapshot; a worker's reloading "
    f"{1e3 * found['reload']:.1f} ms); all else is assumed: {1e3 * LATENCY:g} ms for a message to "
    f"arrive, {cluster.Network.batch / 1e3:.0f} KB a batch, {cluster.Network.weights / 1e6:.1f} MB "
    "of weights for each node every 100 steps, all of them from the trainer's link, while Ray may "
    "let nodes fetch from each other; the paper's GPUs as its 9 minutes for 60,000 steps, over 5× "
    "and a ratio of 8 have it. The trainer assists, its queue holds 16 batches, and nothing bounds "
    "staleness.")
  yield (
    "Once the trainer never lacks a batch, another worker makes nothing faster: each adds one batch "
    "to those on their way, and one step to the age of all. `--max_staleness` keeps them fewer.")


def _draw(data):
  figure, (axes,) = plots.grid(1, 2, width=3.6, height=3.4)
  colours = dict(zip(data["network"]["cases"], plots.COLOURS, strict=False))
  for name, gigabits, by in _cases(data):
    style = {"color": colours[name], "linestyle": LINES[gigabits]}
    label = name.replace(", ", ",\n") if gigabits == GIGABITS[0] else None
    axes[0].plot(WORKERS, [by[workers]["speedup"] for workers in WORKERS], label=label, **style)
    for age, width in (("mean", 1.5), ("max", 0.6)):
      axes[1].plot(WORKERS, [by[workers][f"staleness_{age}"] for workers in WORKERS],
                   linewidth=width, **style)
  for axis, label in zip(axes, ("speed-up against one device", "staleness (trainer steps)"),
                         strict=True):
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set_xticks(WORKERS[::3], WORKERS[::3])
    plots.log_ticks(axis.yaxis)
    axis.set_xlabel("workers")
    axis.set_ylabel(label)
  for gigabits, line in LINES.items():
    axes[0].plot([], [], color="0.5", linestyle=line, label=f"{gigabits} Gb/s")
  plots.legend_beside(figure, axes[0])
  return figure
