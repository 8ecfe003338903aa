"""How much faster is asynchronous training, here and with up to 64 workers? (§5, Figure 9)"""

import itertools
import statistics

from tf_madry import config
from tf_madry.asynchronous import ages
from tf_madry.benchmark import runs
from tf_madry.errors import UserError
from tf_madry.runtime import devices
from tf_madry.studies.lab import networks as labs
from tf_madry.studies.lab import timing
from tf_madry.studies.lab.simulation import Costs, simulate
from tf_madry.studies.output import plots
from tf_madry.studies.output.outcomes import Claim, Figure, Findings, Table

OPTIONS = ("t_adv", "t_train")
K = 8
WORKERS = (*range(1, 17), 24, 32, 48, 64)
LISTED = (*range(1, 9), 12, 16, 32, 64)  # in the table; the CSV file has all
SHOWN = (1, 4, 7, 16, 64)  # whose staleness is plotted
MEASURED_STEPS = 40
# So few steps show the long run only if no stock of batches from before is used up in them, and weights are published.
HERE = {"queue_size": 2, "reload_every": 10}
FLAGS = ("k", "seed", "precision", "batch_size")  # of what decides the cost of a step, those that are flags

# §5 and Figure 9, by number of GPUs, of which one is the trainer's, which does not assist: what is said, and about where
# that is.
PAPER = {2: ("slightly worse than 2", 2.0), 7: ("nearly 5", 5.0), 8: ("over 5", 5.0)}
PAPER_RATIO = 8  # "approximately 8× as long to make an adversarial batch as it does to train on it", of batch 128
SLIGHTLY = 0.8  # share of the ideal speed-up from which it is "slightly worse", and below it "nearly linear"
AGREES = 0.15  # difference up to which a simulation agrees with what it is compared to


def measure(lab):
  """Measures costs and examples/s on this machine, unless costs are given; simulates this machine, and many devices."""
  given = lab.options.t_adv is not None
  if given:
    costs, measured, cores, batch_size = Costs(craft=lab.options.t_adv, learn=lab.options.t_train), [], None, None
  else:
    values = {"k": K, "seed": lab.options.seed, "precision": lab.options.precision}
    values |= {} if lab.options.full else labs.QUICK
    of_machine = {"cores": devices.cores(), "gpus": len(devices.gpus())}
    found = lab.remember({"costs": values} | of_machine, lambda: timing.costs(config.resolve(values)[0]))
    most = 3 if found["shared"] else max(1, found["processes"] - 1)  # workers
    costs = Costs(**{name: found[name] for name in ("craft", "learn", "publish", "reload")})
    cores = found["processes"] if found["shared"] else None
    batch_size = config.resolve(values)[0].training.batch_size
    measured = [lab.remember({"run": values, "workers": workers, "assist": assist, "steps": MEASURED_STEPS} | HERE | of_machine,
                             lambda workers=workers, assist=assist: _run(values, batch_size, workers, assist))
                for workers, assist in [(0, True), *itertools.product(range(1, most + 1), (True, False))]]
    lab.seconds += sum(row["seconds"] for row in measured)
  here = [_simulated(costs, row["workers"], row["assist"], cores=cores, **HERE) for row in measured if row["workers"]]
  return {"costs": vars(costs), "given": given, "cores": cores, "batch_size": batch_size, "measured": measured, "here": here,
          "devices": _devices(costs), "paper": _devices(Costs(craft=PAPER_RATIO, learn=1.0))}


def _devices(costs):
  return [_simulated(costs, workers, assist) for assist, workers in itertools.product((True, False), WORKERS)]


def _run(values, batch_size, workers, assist):
  """Examples/s of a training run with so many workers, as JSON has them."""
  try:
    run = runs.training_run("async_train.py", MEASURED_STEPS, workers, trainer_assist=assist, **HERE,
                                 **{name: value for name, value in values.items() if name in FLAGS})
  except UserError as error:
    raise UserError(f"training with {workers} workers could not be measured: {error}") from error
  row = {"workers": workers, "assist": assist, "steps": run.steps, "seconds": run.seconds, "batch_size": batch_size,
         "examples_per_second": batch_size * run.steps / run.seconds}
  if workers:
    row |= {"staleness_mean": float(ages.of(*(line["staleness_histogram"] for line in run.rows)).mean()),
            "waiting": statistics.mean(line["trainer_waiting"] for line in run.rows)}
  return row


def _simulated(costs, workers, assist, **settings):
  outcome = simulate(costs, workers=workers, assist=assist, **settings)
  histogram = {str(age): count for age, count in outcome.staleness.items()}
  each = ages.of(histogram)
  return {"workers": workers, "assist": assist, "rate": outcome.rate,
          "speedup": outcome.rate * (costs.craft + costs.learn),
          "waiting": outcome.waiting, "blocked": outcome.blocked, "staleness_mean": outcome.mean_staleness(),
          "staleness_p95": int(each[int(0.95 * (len(each) - 1))]), "staleness_max": int(each[-1]),
          "staleness": histogram}


def findings(data, settings):
  """As `tf_madry.studies` says."""
  costs, (by, paper) = data["costs"], ({(row["workers"], row["assist"]): row for row in data[name]}
                                       for name in ("devices", "paper"))
  ratio = costs["craft"] / costs["learn"]
  tables = [Table(
    f"Simulated, one device each: {1e3 * costs['craft']:.4g} ms to craft a batch, {1e3 * costs['learn']:.4g} ms to train on "
    f"it ({'given' if data['given'] else 'measured here, all cores busy'}; {_of(data)}; ratio {ratio:.1f})",
    ["workers", "speedup", "without the trainer's help", "staleness: mean", "95 %", "max", "workers blocked"],
    [[workers, f"{by[workers, True]['speedup']:.2f}", f"{by[workers, False]['speedup']:.2f}",
      f"{by[workers, True]['staleness_mean']:.0f}", by[workers, True]["staleness_p95"],
      by[workers, True]["staleness_max"], f"{by[workers, True]['blocked']:.0%}"] for workers in LISTED]),
    Table(
      f"The paper's speed-up, and as simulated with its ratio of {PAPER_RATIO} between crafting and training, one device "
      "each and nothing lost",
      ["GPUs", "paper", "simulated", "with the trainer's help"],
      [[gpus, said, f"{paper[gpus - 1, False]['speedup']:.2f}", f"{paper[gpus - 1, True]['speedup']:.2f}"]
       for gpus, (said, _) in PAPER.items()])]
  if data["measured"]:
    tables.insert(0, _table_here(data))
  figures = [
    Figure("speedup", "Figure 9: speed-up against κ = 8 on one device. Left: this machine, measured and simulated, "
           "against synchronous training on all its cores. Right: simulated with one device each, at the ratio of costs "
           "here and at the paper's, and the paper's values."
           if data["measured"] else "Figure 9: speed-up against κ = 8 on one device, simulated, and the paper's values.",
           lambda: _speedups(data, by, paper, ratio), _of(data)),
    Figure("speedup_staleness", "Simulated staleness of the batches trained on, by number of workers (the trainer "
           "assists; queue of 16, a snapshot of the weights every 100 steps).", lambda: _staleness(by),
           f"crafting takes {ratio:.1f} times as long as training")]
  flat = [{"ratio": of} | {name: value for name, value in row.items() if name != "staleness"}
          for of, name in ((ratio, "devices"), (PAPER_RATIO, "paper")) for row in data[name]]
  records = {"speedup_simulated": flat}
  if data["measured"]:
    records["speedup_measured"] = [
      {"workers": row["workers"], "assist": row["assist"], "examples_per_second": row["examples_per_second"],
       "simulated": simulated["examples_per_second"] if simulated else None, "steps": row["steps"]}
      for row, simulated in _pairs(data)]
  old = paper[7, True]
  notes = [f"Costs and speeds are of {_of(data)}.",
           "With the paper's 7 workers, its ratio of costs, and a snapshot every 100 steps, a batch is "
           f"{old['staleness_mean']:.0f} steps old on average and {old['staleness_p95']} in one case of 20: what "
           "`staleness` says of such values matters here."]
  return Findings("Speed-up: Figure 9", _claims(data, by, paper, ratio), tables, figures, records, notes)


def _pairs(data):
  """(row measured, row simulated or None for synchronous training) of this machine."""
  batch_size = data["measured"][0]["batch_size"]
  simulated = {(row["workers"], row["assist"]): row | {"examples_per_second": batch_size * row["rate"]}
               for row in data["here"]}
  return [(row, simulated.get((row["workers"], row["assist"]))) for row in data["measured"]]


def _table_here(data):
  base = data["measured"][0]["examples_per_second"]
  return Table(
    f"This machine ({_place(data)}): examples/s of {data['measured'][0]['steps']} steps each, and as simulated; queue of "
    f"{HERE['queue_size']}, a snapshot every {HERE['reload_every']} steps",
    ["workers", "trainer assists", "measured", "simulated", "difference", "measured speedup", "staleness", "simulated"],
    [[row["workers"], "yes" if row["assist"] else "no", f"{row['examples_per_second']:.0f}",
      *((f"{other['examples_per_second']:.0f}", f"{other['examples_per_second'] / row['examples_per_second'] - 1:+.0%}")
        if other else ("–", "–")),
      f"{row['examples_per_second'] / base:.2f}",
      *((f"{row['staleness_mean']:.1f}", f"{other['staleness_mean']:.1f}") if other else ("–", "–"))]
     for row, other in _pairs(data)])


def _of(data):
  return f"batches of {data['batch_size'] or 'a size that was not given'} (paper: 128)"


def _place(data):
  return f"{data['cores']} cores that all processes share" if data["cores"] else "GPUs"


def _saturation(by, ratio):
  """(whether speed-up is nearly linear up to it, number of workers from which the trainer is the bottleneck or None)."""
  reached = next((workers for workers in WORKERS if by[workers, True]["speedup"] >= 0.98 * (1 + ratio)), None)
  before = [workers for workers in WORKERS if workers < (reached or float("inf"))]
  return all(by[workers, True]["speedup"] >= SLIGHTLY * (1 + workers) for workers in before), reached


def _claims(data, by, paper, ratio):
  """Claims on what is simulated with the costs here, `by`, and at the paper's ratio, `paper`."""
  cases = {ratio: _saturation(by, ratio), PAPER_RATIO: _saturation(paper, PAPER_RATIO)}
  reached = cases[ratio][1]
  said = "; ".join(f"ratio {of:.1f}: the trainer is the bottleneck " + (f"from {workers} workers on" if workers else
                   f"with none of up to {WORKERS[-1]} workers") + f", speed-up {1 + of:.1f}"
                   for of, (_, workers) in cases.items())
  off = {gpus: paper[gpus - 1, False]["speedup"] / value - 1 for gpus, (_, value) in PAPER.items()}
  claims = [
    Claim("Speed-up is nearly linear until workers and trainer are equally fast: with as many workers as crafting takes "
          "longer than training, and a speed-up of that and one.",
          all(linear and workers and abs(workers - of) <= 1 for of, (linear, workers) in cases.items()), said),
    Claim(f"… which is near κ = {K} workers.", reached is not None and abs(reached - K) <= 1,
          f"{reached or 'not reached'} with the costs here, of ratio {ratio:.1f}; {cases[PAPER_RATIO][1]} at the paper's"),
    Claim("With 2 GPUs the trainer spends most of its time waiting; that is fixed if it assists.",
          by[1, False]["waiting"] > 0.5 and by[1, True]["speedup"] > by[1, False]["speedup"],
          f"simulated: {by[1, False]['speedup']:.2f}× and {by[1, False]['waiting']:.0%} of the trainer's time waiting "
          f"without, {by[1, True]['speedup']:.2f}× with its help"),
    Claim("… and speed-up is slightly worse than linear.", 1 - SLIGHTLY >= -off[2] > 0,
          f"{paper[1, False]['speedup']:.2f}× instead of 2×, simulated at the paper's ratio"),
    Claim("Nearly 5× with 7 GPUs, over 5× with 8.", max(abs(off[7]), abs(off[8])) <= AGREES,
          f"simulated at the paper's ratio, with nothing lost: {paper[6, False]['speedup']:.2f}× and "
          f"{paper[7, False]['speedup']:.2f}×, {off[7]:+.0%} and {off[8]:+.0%} (with the trainer's help "
          f"{paper[6, True]['speedup']:.2f}× and {paper[7, True]['speedup']:.2f}×); with the costs here "
          f"{by[6, False]['speedup']:.2f}× and {by[7, False]['speedup']:.2f}×")]
  if data["here"]:
    errors = [other["examples_per_second"] / row["examples_per_second"] - 1 for row, other in _pairs(data) if other]
    claims.append(Claim(f"(Not in the paper:) the simulation tells what is measured here, within {AGREES:.0%}.",
                        max(map(abs, errors)) <= AGREES, f"differences from {min(errors):+.0%} to {max(errors):+.0%}"))
  return claims


def _speedups(data, by, paper, ratio):
  figure, (axes,) = plots.grid(1, 2 if data["measured"] else 1, width=4.6, height=3.4)
  if data["measured"]:
    _here(axes[0], data)
  axis = axes[-1]
  for (of, simulated), line in zip(((ratio, by), (PAPER_RATIO, paper)), (":", "-"), strict=True):
    for assist, colour in ((True, "tab:blue"), (False, "tab:orange")):
      axis.plot([1, *(workers + 1 for workers in WORKERS)],
                [1, *(simulated[workers, assist]["speedup"] for workers in WORKERS)], color=colour, marker=".",
                linestyle=line, label=f"ratio {of:.1f}, trainer {'assists' if assist else 'does not assist'}")
  ends = [1, 2 * PAPER_RATIO]
  axis.plot(ends, ends, color="0.75", zorder=0, linewidth=4, label="linear")
  axis.plot(2, PAPER[2][1], "kv", label=f"paper, {PAPER[2][0]}")
  axis.plot([7, 8], [PAPER[7][1], PAPER[8][1]], "k^", label="paper, about 5")
  axis.set_xscale("log", base=2)
  axis.set_yscale("log", base=2)
  ticks = [1, 2, 4, 8, 16, 32, 64]
  axis.set_xticks(ticks, ticks)
  axis.set_yticks(ticks[:5], ticks[:5])
  axis.set_xlabel("devices: workers and one trainer")
  axis.set_ylabel("speed-up against κ = 8 on one device")
  axis.set_title("simulated, one device each")
  axis.legend()
  return figure


def _here(axis, data):
  base = data["measured"][0]["examples_per_second"]
  axis.axhline(1, **plots.PAPER)
  for assist, colour in ((True, "tab:blue"), (False, "tab:orange")):
    pairs = [(row, other) for row, other in _pairs(data) if other and row["assist"] == assist]
    workers, name = [row["workers"] for row, _ in pairs], "assists" if assist else "does not assist"
    axis.plot(workers, [row["examples_per_second"] / base for row, _ in pairs], "o", color=colour,
              label=f"measured, trainer {name}")
    axis.plot(workers, [other["examples_per_second"] / base for _, other in pairs], color=colour, linestyle=":",
              marker="x", label="simulated")
  axis.set_xticks(workers)
  axis.set_ylim(bottom=0)
  axis.set_xlabel("workers")
  axis.set_ylabel(f"speed-up against synchronous ({base:.0f} examples/s)")
  axis.set_title(f"this machine: {_place(data)}; batch {data['batch_size']}")
  axis.legend(loc="lower right")


def _staleness(by):
  figure, ((axis,),) = plots.grid(1, 1, width=5.2, height=3.2)
  for colour, workers in zip(plots.COLOURS, SHOWN, strict=False):
    counts = {int(age): count for age, count in by[workers, True]["staleness"].items()}
    total, ages = sum(counts.values()), sorted(counts)
    shares = list(itertools.accumulate(counts[age] / total for age in ages))
    axis.step(ages, shares, where="post", color=colour, label=f"{workers} worker{'s' if workers > 1 else ''}")
  plots.percent_axis(axis)
  axis.set_xlabel("staleness (trainer steps)")
  axis.set_ylabel("batches that are no staler")
  axis.legend(loc="lower right")
  return figure
