"""What this machine measures: costs, and speeds with few workers, beside what is simulated of it."""

import contextlib
import functools
import itertools
import statistics
from collections.abc import Iterator
from typing import Any

from tf_madry import config
from tf_madry.asynchronous import ages
from tf_madry.benchmark import cluster as handing_over
from tf_madry.benchmark import runs
from tf_madry.errors import UserError
from tf_madry.runtime import devices
from tf_madry.studies.lab import cluster, simulation
from tf_madry.studies.lab import costs as lab_costs
from tf_madry.studies.lab.lab import Lab
from tf_madry.studies.lab.simulation import Costs
from tf_madry.studies.output import plots
from tf_madry.studies.output.findings import Claim, Figure, Table

K = 8
MEASURED_STEPS = 40
# So few steps show the long run only if no stock of batches from before is used up in them, and
# weights are published.
RUN = {"queue_size": 2, "reload_every": 10}
AGREES = 0.15  # difference up to which a simulation agrees with what it is compared to
ON_CLUSTER = (1, 2)  # workers
NOTHING = {"costs": None, "handover": None, "cores": None, "batch_size": None, "measured": [],
           "simulated": [], "cluster_measured": [], "cluster_simulated": []}


def collect(lab: Lab) -> dict[str, Any]:
  """Costs and speeds of this machine, by processes of its own and on a cluster of two nodes here.

  The cluster takes Ray, and no GPUs: which of them Ray would give to whom is not simulated.
  """
  values = {"k": K, "seed": lab.options.seed, "precision": lab.options.precision,
            "batch_size": lab.sizes.batch_size}
  machine = {"cores": devices.cores(), "gpus": len(devices.gpus())}
  found = lab.remember({"costs": values} | machine,
                       lambda: lab_costs.of_this_machine(config.resolve(values)[0]))
  costs = {name: found[name] for name in ("craft", "learn", "publish", "reload")}
  cores = found["processes"] if found["shared"] else None
  crews = [(0, True), *itertools.product(range(1, _most(found) + 1), (True, False))]
  measured = _measured(lab, values, machine, crews)
  simulated = [_row(simulation.simulate(Costs(**costs), workers=workers, assist=assist,
                                        cores=cores, **RUN), workers, assist)
               for workers, assist in crews if workers]
  data = NOTHING | {"costs": costs, "cores": cores, "batch_size": values["batch_size"],
                    "measured": measured, "simulated": simulated}
  if not (cores and handing_over.is_possible()):
    return data
  handover = lab.remember({"handover": "two nodes"} | machine, _handover)
  crews = list(itertools.product(ON_CLUSTER, (True, False)))
  # A batch goes through more hands than its bytes take time: half of that is put down to each way.
  link = cluster.Network(bandwidth=cluster.Network.weights / handover["weights"],
                         latency=handover["message"] + handover["batch"] / 2,
                         ingest=handover["ingest"], watch=handover["watch"])
  return data | {
    "handover": handover,
    "cluster_measured": _measured(lab, values, machine, crews, {"cluster": "two nodes"}),
    "cluster_simulated": [
      _row(cluster.simulate(Costs(**costs | {"publish": handover["publish"]}), link,
                            workers=workers, assist=assist, cores=cores, **RUN), workers, assist)
      for workers, assist in crews]}


def _most(found):
  return 3 if found["shared"] else max(1, found["processes"] - 1)


def _handover():
  with handing_over.two_nodes(1) as address:
    return handing_over.measure(address)._asdict()


def _measured(lab, values, machine, crews, where=None):
  """Speeds of these crews, (workers, whether the trainer assists), each as often as options say.

  `where` says in the key of what is kept that they were on a cluster of two nodes.

  Repeats go round and round all of them, so that a machine that grows slower does so for all alike.
  """
  repeats = {crew: [] for crew in crews}
  with contextlib.ExitStack() as stack:
    @functools.cache  # once one has to be measured
    def cluster_of():
      nodes = handing_over.two_nodes(max(ON_CLUSTER))
      return {"cluster": stack.enter_context(nodes)} if where else {}

    for repeat in range(lab.options.repeats):
      for workers, assist in crews:
        key = {"run": values, "workers": workers, "assist": assist, "steps": MEASURED_STEPS,
               "repeat": repeat}
        repeats[workers, assist].append(lab.remember(
          key | RUN | machine | (where or {}),
          lambda workers=workers, assist=assist: _run(values | cluster_of(), workers, assist)))
  lab.seconds += sum(run["seconds"] for those in repeats.values() for run in those)
  return [{"workers": workers, "assist": assist, "steps": MEASURED_STEPS,
           "speeds": [run["examples_per_second"] for run in those],
           **{name: statistics.mean(run[name] for run in those)
              for name in ("staleness_mean", "waiting") if workers},
           **{name: max(run[name] for run in those) for name in ("staleness_max",) if workers}}
          for (workers, assist), those in repeats.items()]


def _run(values, workers, assist):
  """Examples/s of a training run with so many workers, as JSON has them."""
  try:
    run = runs.training_run("async_train.py", MEASURED_STEPS, workers, trainer_assist=assist,
                            **RUN, **values)
  except UserError as error:
    raise UserError(f"training with {workers} workers could not be measured: {error}") from error
  row = {"steps": run.steps, "seconds": run.seconds,
         "examples_per_second": values["batch_size"] * run.steps / run.seconds}
  if workers:
    each = ages.of(*(line["staleness_histogram"] for line in run.rows))
    row |= {"staleness_mean": float(each.mean()), "staleness_max": int(each.max()),
            "waiting": statistics.mean(line["trainer_waiting"] for line in run.rows)}
  return row


def _row(outcome, workers, assist):
  return {"workers": workers, "assist": assist, "rate": outcome.rate, "waiting": outcome.waiting,
          **simulation.summary(outcome.staleness)}


# What it says


def claims(data: dict[str, Any]) -> Iterator[Claim]:
  """Whether simulations tell what was measured; nothing where nothing was."""
  cases = {"of processes": _pairs(data), "of a cluster": _pairs(data, "cluster_")}
  for name, pairs in cases.items():
    pairs = [(row, other) for row, other in pairs if other]
    if not pairs:
      continue
    # The noise of a measurement is what its repeats differ by.
    agree = [min(row["speeds"]) * (1 - AGREES) <= other["examples_per_second"]
             <= max(row["speeds"]) * (1 + AGREES)
             for row, other in pairs]
    noise = max(max(row["speeds"]) / min(row["speeds"]) - 1 for row, _ in pairs)
    off = [_off(row, other) for row, other in pairs]
    yield Claim(f"(Not in the paper:) the simulation {name} tells what is measured here, within "
                f"{AGREES:.0%} of the lowest and highest of the repeats.", all(agree),
                f"differences from {min(off):+.0%} to {max(off):+.0%} of the medians; repeats of "
                f"one setting differ by up to {noise:.0%}")


def tables(data: dict[str, Any]) -> Iterator[Table]:
  """Measured beside simulated: processes of this machine, and a cluster of two nodes."""
  for prefix, what in (("", ""), ("cluster_", ", as a Ray cluster of two nodes, one the trainer's")):
    if rows := data[f"{prefix}measured"]:
      base, repeats = statistics.median(data["measured"][0]["speeds"]), len(rows[0]["speeds"])
      yield Table(
        f"This machine ({place(data)}){what}: examples/s, median of {repeats} runs of "
        f"{rows[0]['steps']} steps each, with the lowest and highest, and as simulated; queue of "
        f"{RUN['queue_size']}, a snapshot every {RUN['reload_every']} steps",
        ["workers", "trainer assists", "measured", "simulated", "difference", "measured speedup",
         "trainer waiting", "simulated", "staleness: mean", "simulated", "max", "simulated"],
        [_line(row, other, base) for row, other in _pairs(data, prefix)])


def _line(row, other, base):
  return [row["workers"], "yes" if row["assist"] else "no", spread(row["speeds"]),
          *((f"{other['examples_per_second']:.0f}", f"{_off(row, other):+.0%}") if other
            else ("–", "–")),
          f"{statistics.median(row['speeds']) / base:.2f}",
          *((f"{row['waiting']:.0%}", f"{other['waiting']:.0%}",
             f"{row['staleness_mean']:.1f}", f"{other['staleness_mean']:.1f}",
             row["staleness_max"], other["staleness_max"]) if other else 6 * ("–",))]


def records(data: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
  """Every repeat."""
  lines = [{"cluster": bool(prefix), "workers": row["workers"], "assist": row["assist"],
            "repeat": repeat, "examples_per_second": speed,
            "simulated": other["examples_per_second"] if other else None, "steps": row["steps"]}
           for prefix in ("", "cluster_") for row, other in _pairs(data, prefix)
           for repeat, speed in enumerate(row["speeds"])]
  return {"speedup_measured": lines} if lines else {}


def notes(data: dict[str, Any]) -> Iterator[str]:
  """What the cluster was, or why there was none."""
  if found := data["handover"]:
    yield ("The cluster is Ray's, with two nodes on this machine, so that what travels from node to "
           "node does not leave it: " + ", ".join(
             f"{what} {1e3 * found[name]:.2f} ms" for name, what in (
               ("message", "a message"), ("batch", "a batch, longer than that,"),
               ("weights", "weights to a node"), ("publish", "the trainer's time to publish them"),
               ("ingest", "to take a batch in"))) + ". What Ray itself takes of the cores is "
           "measured, and not simulated.")
  elif data["measured"]:
    yield "No cluster was measured: that takes Ray (`pip install ray`), and cores instead of GPUs."


def figures(data: dict[str, Any]) -> Iterator[Figure]:
  """Measured and simulated."""
  if data["measured"]:
    yield Figure("speedup_here",
                 "Figure 9 on this machine: measured (median, lowest and highest) and simulated, "
                 "against synchronous training on all its cores. Left its processes, right a Ray "
                 "cluster of two nodes on it, where there was one.",
                 lambda: _draw(data), batches(data))


def _pairs(data, prefix=""):
  """(row measured, row simulated or None for synchronous training) of this machine."""
  simulated = {(row["workers"], row["assist"]): row
               | {"examples_per_second": data["batch_size"] * row["rate"]}
               for row in data[f"{prefix}simulated"]}
  return [(row, simulated.get((row["workers"], row["assist"]))) for row in data[f"{prefix}measured"]]


def spread(speeds: list[float]) -> str:
  """Their median, with the lowest and highest."""
  return f"{statistics.median(speeds):.0f} ({min(speeds):.0f}–{max(speeds):.0f})"


def _off(row, simulated):
  """How far the simulation is above what was measured, as a share of that."""
  return simulated["examples_per_second"] / statistics.median(row["speeds"]) - 1


def batches(data: dict[str, Any]) -> str:
  """Of what size they were."""
  return f"batches of {data['batch_size'] or 'a size that was not given'} (paper: 128)"


def place(data: dict[str, Any]) -> str:
  """What the processes shared."""
  return f"{data['cores']} cores that all processes share" if data["cores"] else "GPUs"


def _draw(data):
  panels = [("", f"{place(data)}")]
  panels += [("cluster_", "a cluster of two nodes on them")] if data["cluster_measured"] else []
  figure, (axes,) = plots.grid(1, len(panels), width=3.6, height=3.2, sharey=True)
  base = statistics.median(data["measured"][0]["speeds"])
  for axis, (prefix, title) in zip(axes, panels, strict=True):
    _panel(axis, _pairs(data, prefix), base, title)
  axes[0].set_ylim(bottom=0)
  axes[0].set_ylabel(f"speed-up against\nsynchronous ({base:.0f} examples/s)")
  plots.legend_beside(figure, axes[0])
  return figure


def _panel(axis, pairs, base, title):
  axis.axhline(1, **plots.PAPER)
  for assist, colour, shift in ((True, "tab:blue", -0.05), (False, "tab:orange", 0.05)):
    those = [(row, other) for row, other in pairs if other and row["assist"] == assist]
    workers, name = [row["workers"] for row, _ in those], "assists" if assist else "does not assist"
    medians = [statistics.median(row["speeds"]) / base for row, _ in those]
    bars = [[median - min(row["speeds"]) / base
             for median, (row, _) in zip(medians, those, strict=True)],
            [max(row["speeds"]) / base - median
             for median, (row, _) in zip(medians, those, strict=True)]]
    axis.errorbar([number + shift for number in workers], medians, bars, fmt="o", capsize=2,
                  color=colour, label=f"measured,\ntrainer {name}")
    axis.plot(workers, [other["examples_per_second"] / base for _, other in those], color=colour,
              linestyle=":", marker="x", label=f"simulated,\ntrainer {name}")
  every = sorted({row["workers"] for row, other in pairs if other})
  axis.set_xticks(every)
  axis.set_xlim(0.5, max(every) + 0.5)
  axis.set_xlabel("workers")
  axis.set_title(title, fontsize=9)
