"""How much faster is asynchronous training, here and with up to 64 workers? (§5, Figure 9)"""

import itertools
import statistics
from typing import Any

from tf_madry import config
from tf_madry.asynchronous import ages
from tf_madry.benchmark import runs
from tf_madry.errors import UserError
from tf_madry.runtime import devices
from tf_madry.studies.lab import costs as lab_costs
from tf_madry.studies.lab.lab import Lab
from tf_madry.studies.lab.simulation import Costs, simulate
from tf_madry.studies.output import plots
from tf_madry.studies.output.findings import Claim, Figure, Findings, Table

OPTIONS = ("t_adv", "t_train", "repeats")
K = 8
WORKERS = (*range(1, 17), 24, 32, 48, 64)
LISTED = (*range(1, 9), 12, 16, 32, 64)  # in the table; the CSV file has all
SHOWN = (1, 4, 7, 16, 64)  # whose staleness is plotted
MEASURED_STEPS = 40
# So few steps show the long run only if no stock of batches from before is used up in them, and
# weights are published.
HERE = {"queue_size": 2, "reload_every": 10}

# §5 and Figure 9, by number of GPUs, of which one is the trainer's, which does not assist: what is
# said, and about where that is.
PAPER = {2: ("slightly worse than 2", 2.0), 7: ("nearly 5", 5.0), 8: ("over 5", 5.0)}
# "approximately 8× as long to make an adversarial batch as it does to train on it", of batch 128.
PAPER_RATIO = 8
# Share of the ideal speed-up from which it is "slightly worse", and below it "nearly linear"
SLIGHTLY = 0.8
AGREES = 0.15  # difference up to which a simulation agrees with what it is compared to


def collect(lab: Lab) -> dict[str, Any]:
  """Measures costs and speeds on this machine, and simulates it and many devices.

  Where costs are given, nothing is measured.
  """
  given = lab.options.t_adv is not None
  if given:
    costs = Costs(craft=lab.options.t_adv, learn=lab.options.t_train)
    measured, cores, batch_size = [], None, None
  else:
    batch_size = lab.sizes.batch_size
    values = {"k": K, "seed": lab.options.seed, "precision": lab.options.precision,
              "batch_size": batch_size}
    of_machine = {"cores": devices.cores(), "gpus": len(devices.gpus())}
    found = lab.remember({"costs": values} | of_machine,
                         lambda: lab_costs.of_this_machine(config.resolve(values)[0]))
    costs = Costs(**{name: found[name] for name in ("craft", "learn", "publish", "reload")})
    cores = found["processes"] if found["shared"] else None
    measured = _measured(lab, values, of_machine,
                         3 if found["shared"] else max(1, found["processes"] - 1))
  here = [_simulated(costs, row["workers"], row["assist"], cores=cores, **HERE) for row in measured
          if row["workers"]]
  return {"costs": vars(costs), "given": given, "cores": cores, "batch_size": batch_size,
          "measured": measured, "here": here,
          "devices": _devices(costs), "paper": _devices(Costs(craft=PAPER_RATIO, learn=1.0))}


def _measured(lab, values, of_machine, most):
  """Speeds without workers, and with up to so many, with the trainer's help and without.

  Repeats go round and round all of them, so that a machine that grows slower does so for all alike.
  """
  crews = [(0, True), *itertools.product(range(1, most + 1), (True, False))]
  repeats = {crew: [] for crew in crews}
  for repeat in range(lab.options.repeats):
    for workers, assist in crews:
      key = {"run": values, "workers": workers, "assist": assist, "steps": MEASURED_STEPS,
             "repeat": repeat}
      repeats[workers, assist].append(lab.remember(
        key | HERE | of_machine,
        lambda workers=workers, assist=assist: _run(values, workers, assist)))
  lab.seconds += sum(run["seconds"] for those in repeats.values() for run in those)
  return [{"workers": workers, "assist": assist, "steps": MEASURED_STEPS,
           "speeds": [run["examples_per_second"] for run in those],
           **{name: statistics.mean(run[name] for run in those)
              for name in ("staleness_mean", "waiting") if workers}}
          for (workers, assist), those in repeats.items()]


def _devices(costs):
  return [_simulated(costs, workers, assist)
          for assist, workers in itertools.product((True, False), WORKERS)]


def _run(values, workers, assist):
  """Examples/s of a training run with so many workers, as JSON has them."""
  try:
    run = runs.training_run("async_train.py", MEASURED_STEPS, workers, trainer_assist=assist,
                            **HERE, **values)
  except UserError as error:
    raise UserError(f"training with {workers} workers could not be measured: {error}") from error
  row = {"steps": run.steps, "seconds": run.seconds,
         "examples_per_second": values["batch_size"] * run.steps / run.seconds}
  if workers:
    row |= {"staleness_mean": float(ages.of(*(line["staleness_histogram"]
                                              for line in run.rows)).mean()),
            "waiting": statistics.mean(line["trainer_waiting"] for line in run.rows)}
  return row


def _simulated(costs, workers, assist, **settings):
  outcome = simulate(costs, workers=workers, assist=assist, **settings)
  histogram = {str(age): count for age, count in outcome.staleness.items()}
  each = ages.of(histogram)
  return {"workers": workers, "assist": assist, "rate": outcome.rate,
          "speedup": outcome.rate * (costs.craft + costs.learn),
          "waiting": outcome.waiting, "blocked": outcome.blocked,
          "staleness_mean": outcome.mean_staleness(),
          "staleness_p95": int(each[int(0.95 * (len(each) - 1))]), "staleness_max": int(each[-1]),
          "staleness": histogram}


def findings(data: dict[str, Any], settings: dict[str, Any]) -> Findings:
  """As `study.Study` says."""
  costs, (by, paper) = data["costs"], ({(row["workers"], row["assist"]): row for row in data[name]}
                                       for name in ("devices", "paper"))
  ratio = costs["craft"] / costs["learn"]
  tables = [Table(
    f"Simulated, one device each: {1e3 * costs['craft']:.4g} ms to craft a batch, "
    f"{1e3 * costs['learn']:.4g} ms to train on it "
    f"({'given' if data['given'] else 'measured here, all cores busy'}; {_of(data)}; ratio "
    f"{ratio:.1f})",
    ["workers", "speedup", "without the trainer's help", "staleness: mean", "95 %", "max",
     "workers blocked"],
    [[workers, f"{by[workers, True]['speedup']:.2f}", f"{by[workers, False]['speedup']:.2f}",
      f"{by[workers, True]['staleness_mean']:.0f}", by[workers, True]["staleness_p95"],
      by[workers, True]["staleness_max"],
      f"{by[workers, True]['blocked']:.0%}"] for workers in LISTED]),
    Table(
      f"The paper's speed-up, and as simulated with its ratio of {PAPER_RATIO} between crafting "
      "and training, one device each and nothing lost",
      ["GPUs", "paper", "simulated", "with the trainer's help"],
      [[gpus, said, f"{paper[gpus - 1, False]['speedup']:.2f}",
        f"{paper[gpus - 1, True]['speedup']:.2f}"]
       for gpus, (said, _) in PAPER.items()])]
  if data["measured"]:
    tables.insert(0, _table_here(data))
  figures = [
    Figure("speedup",
           "Figure 9: speed-up against κ = 8 on one device. Left: this machine, measured (median, "
           "lowest and highest) and simulated, against synchronous training on all its cores. "
           "Right: simulated with one device each, at the ratio of costs here and at the paper's, "
           "and the paper's values." if data["measured"] else
           "Figure 9: speed-up against κ = 8 on one device, simulated, and the paper's values.",
           lambda: _speedups(data, by, paper, ratio), _of(data)),
    Figure("speedup_staleness",
           "Simulated staleness of the batches trained on, by number of workers (the trainer "
           "assists; queue of 16, a snapshot of the weights every 100 steps).",
           lambda: _staleness(by),
           f"crafting takes {ratio:.1f} times as long as training")]
  flat = [{"ratio": of} | {name: value for name, value in row.items() if name != "staleness"}
          for of, name in ((ratio, "devices"), (PAPER_RATIO, "paper")) for row in data[name]]
  records = {"speedup_simulated": flat}
  if data["measured"]:
    records["speedup_measured"] = [
      {"workers": row["workers"], "assist": row["assist"], "repeat": repeat,
       "examples_per_second": speed,
       "simulated": simulated["examples_per_second"] if simulated else None, "steps": row["steps"]}
      for row, simulated in _pairs(data) for repeat, speed in enumerate(row["speeds"])]
  old = paper[7, True]
  notes = [f"Costs and speeds are of {_of(data)}.",
           "What is simulated is arithmetic: costs measured here or taken from the paper, and "
           "nothing lost to anything that the simulation does not know. Only several devices can "
           "test the paper's speed-ups.",
           "With the paper's 7 workers, its ratio of costs, and a snapshot every 100 steps, a "
           f"batch is {old['staleness_mean']:.0f} steps old on average and {old['staleness_p95']} "
           "in one case of 20: what `staleness` says of such values matters here."]
  return Findings("Speed-up: Figure 9", list(_claims(data, by, paper, ratio)), tables, figures,
                  records, notes)


def _pairs(data):
  """(row measured, row simulated or None for synchronous training) of this machine."""
  simulated = {(row["workers"], row["assist"]): row
               | {"examples_per_second": data["batch_size"] * row["rate"]}
               for row in data["here"]}
  return [(row, simulated.get((row["workers"], row["assist"]))) for row in data["measured"]]


def _table_here(data):
  speeds = data["measured"][0]["speeds"]
  base, repeats = statistics.median(speeds), len(speeds)
  return Table(
    f"This machine ({_place(data)}): examples/s, median of {repeats} runs of "
    f"{data['measured'][0]['steps']} steps each, with the lowest and highest, and as simulated; "
    f"queue of {HERE['queue_size']}, a snapshot every {HERE['reload_every']} steps",
    ["workers", "trainer assists", "measured", "simulated", "difference", "measured speedup",
     "trainer waiting", "simulated",
     "staleness", "simulated"],
    [[row["workers"], "yes" if row["assist"] else "no", _spread(row["speeds"]),
      *((f"{other['examples_per_second']:.0f}", f"{_off(row, other):+.0%}") if other
        else ("–", "–")),
      f"{statistics.median(row['speeds']) / base:.2f}",
      *((f"{row['waiting']:.0%}", f"{other['waiting']:.0%}", f"{row['staleness_mean']:.1f}",
         f"{other['staleness_mean']:.1f}") if other else ("–", "–", "–", "–"))]
     for row, other in _pairs(data)])


def _spread(speeds):
  return f"{statistics.median(speeds):.0f} ({min(speeds):.0f}–{max(speeds):.0f})"


def _off(row, simulated):
  """How far the simulation is above what was measured, as a share of that."""
  return simulated["examples_per_second"] / statistics.median(row["speeds"]) - 1


def _of(data):
  return f"batches of {data['batch_size'] or 'a size that was not given'} (paper: 128)"


def _place(data):
  return f"{data['cores']} cores that all processes share" if data["cores"] else "GPUs"


def _saturation(by, ratio):
  """Whether speed-up is nearly linear, and from how many workers on it no longer grows.

  None for the second where it always does.
  """
  reached = next((workers for workers in WORKERS
                  if by[workers, True]["speedup"] >= 0.98 * (1 + ratio)), None)
  before = [workers for workers in WORKERS if workers < (reached or float("inf"))]
  return all(by[workers, True]["speedup"] >= SLIGHTLY * (1 + workers)
             for workers in before), reached


def _claims(data, by, paper, ratio):
  """Claims on speed need devices, which a simulation is not.

  What this machine measures itself is judged.
  """
  cases = {ratio: _saturation(by, ratio), PAPER_RATIO: _saturation(paper, PAPER_RATIO)}

  def bottleneck(workers):
    return f"from {workers} workers on" if workers else f"with none of up to {WORKERS[-1]} workers"

  said = "; ".join(
    f"ratio {of:.1f}: {'nearly linear' if linear else 'not linear'}, the trainer is the bottleneck "
    f"{bottleneck(workers)}, speed-up {1 + of:.1f}" for of, (linear, workers) in cases.items())
  yield Claim("Speed-up is nearly linear until workers and trainer are equally fast, which is "
              f"near κ = {K} workers.", None, f"only simulated: {said}")
  alone = {row["assist"]: row for row in data["measured"] if row["workers"] == 1}
  simulated = (f"simulated at the paper's ratio {paper[1, False]['waiting']:.0%} of its time "
               f"without, {paper[1, False]['speedup']:.2f}× and with its help "
               f"{paper[1, True]['speedup']:.2f}×")
  yield Claim("With one worker the trainer spends most of its time waiting; that is mended if it "
              "assists.",
              alone[False]["waiting"] > 0.5
              and min(alone[True]["speeds"]) > max(alone[False]["speeds"]) if alone else None,
              (f"measured here: {alone[False]['waiting']:.0%} of its time, "
               f"{_spread(alone[False]['speeds'])} examples/s without and "
               f"{_spread(alone[True]['speeds'])} with its help; " if alone else "") + simulated)
  for gpus, (text, _) in PAPER.items():
    yield Claim(f"Speed-up with {gpus} GPUs: {text}.", None,
                f"needs {gpus} devices; simulated at the paper's ratio, with nothing lost: "
                f"{paper[gpus - 1, False]['speedup']:.2f}×, with the trainer's help "
                f"{paper[gpus - 1, True]['speedup']:.2f}×; with the costs here "
                f"{by[gpus - 1, False]['speedup']:.2f}×")
  if data["here"]:
    pairs = [(row, other) for row, other in _pairs(data) if other]
    # The noise of a measurement is what its repeats differ by.
    agree = [min(row["speeds"]) * (1 - AGREES) <= other["examples_per_second"]
             <= max(row["speeds"]) * (1 + AGREES)
             for row, other in pairs]
    noise = max(max(row["speeds"]) / min(row["speeds"]) - 1 for row, _ in pairs)
    off = [_off(row, other) for row, other in pairs]
    yield Claim("(Not in the paper:) the simulation tells what is measured here, within "
                f"{AGREES:.0%} of the lowest and highest of the repeats.", all(agree),
                f"differences from {min(off):+.0%} to {max(off):+.0%} of the medians; repeats of "
                f"one setting differ by up to {noise:.0%}")


def _speedups(data, by, paper, ratio):
  figure, (axes,) = plots.grid(1, 2 if data["measured"] else 1, width=4.6, height=3.4)
  if data["measured"]:
    _here(axes[0], data)
  axis = axes[-1]
  for (of, simulated), line in zip(((ratio, by), (PAPER_RATIO, paper)), (":", "-"), strict=True):
    for assist, colour in ((True, "tab:blue"), (False, "tab:orange")):
      axis.plot([1, *(workers + 1 for workers in WORKERS)],
                [1, *(simulated[workers, assist]["speedup"] for workers in WORKERS)], color=colour,
                marker=".",
                linestyle=line,
                label=f"ratio {of:.1f}, trainer {'assists' if assist else 'does not assist'}")
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
  axis.set_title("simulated, one device each")
  axis.legend(loc="lower right", fontsize=6)
  return figure


def _here(axis, data):
  base = statistics.median(data["measured"][0]["speeds"])
  axis.axhline(1, **plots.PAPER)
  for assist, colour, shift in ((True, "tab:blue", -0.05), (False, "tab:orange", 0.05)):
    pairs = [(row, other) for row, other in _pairs(data) if other and row["assist"] == assist]
    workers, name = [row["workers"] for row, _ in pairs], "assists" if assist else "does not assist"
    medians = [statistics.median(row["speeds"]) / base for row, _ in pairs]
    bars = [[median - min(row["speeds"]) / base
             for median, (row, _) in zip(medians, pairs, strict=True)],
            [max(row["speeds"]) / base - median
             for median, (row, _) in zip(medians, pairs, strict=True)]]
    axis.errorbar([number + shift for number in workers], medians, bars, fmt="o", capsize=2,
                  color=colour,
                  label=f"measured, trainer {name}")
    axis.plot(workers, [other["examples_per_second"] / base for _, other in pairs], color=colour,
              linestyle=":",
              marker="x", label=f"simulated, trainer {name}")
  axis.set_xticks(workers)
  axis.set_xlim(0.5, max(workers) + 0.5)
  axis.set_ylim(bottom=0)
  axis.set_xlabel("workers")
  axis.set_ylabel(f"speed-up against\nsynchronous ({base:.0f} examples/s)")
  axis.set_title(f"measured here: {_place(data)}", fontsize=9)
  axis.legend(loc="lower right")


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
