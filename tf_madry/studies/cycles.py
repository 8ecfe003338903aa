"""Do stale adversarial examples go round in circles? (§5, Figures 6 and 7)"""

from typing import Any

import numpy as np

from tf_madry import datasets
from tf_madry.errors import require
from tf_madry.studies.lab import packing, recorder, recurrence
from tf_madry.studies.lab.lab import Lab, final_row
from tf_madry.studies.lab.network import Network
from tf_madry.studies.output import curves, plots
from tf_madry.studies.output.findings import Claim, Figure, Findings, Table, percent, without

OPTIONS = ("long", "learning_rate")
STALE = 64  # of Figures 6 and 7
# Share of training that is looked at: ε has risen, the learning rate has not fallen to nothing yet.
WINDOW = (0.2, 0.9)
MOST_FRAMES = 512  # at its end; 64 times the 64 steps that a batch waits
# Figure 6 shows one example, 4 times with s = 0 and 8 times with s = 64.
SHOWN_EXAMPLES, SHOWN_FRAMES = 3, 8
SHOWN_EVERY = 3  # frames: together three times the steps that a batch waits with s = 64
ANIMATED_FRAMES = 40

# §5: the s = 64 network that was trained for 300,000 steps instead of 60,000 caught up "about
# halfway through training".
PAPER_LONG_STEPS = 300_000
HALFWAY = (0.25, 0.75)  # shares of training that pass for "about halfway"


def collect(lab: Lab) -> dict[str, Any]:
  """Perturbations of the same examples at sequential steps, and the long run if asked for."""
  _, steps = window(np.arange(lab.options.steps // lab.sizes.frame_every), lab.options.steps,
                    lab.sizes.frame_every)
  require(len(steps) >= recurrence.FEWEST_FRAMES, "scale", lab.options.scale,
          f"more: there are {len(steps)} frames to look for cycles in, and "
          f"{recurrence.FEWEST_FRAMES} are the fewest")
  networks = {s: lab.network(s=s) for s in (0, STALE)}
  series, correlations, summary = {}, [], []
  for s, network in networks.items():
    chosen, steps = window(network.frames, network.steps, lab.sizes.frame_every)
    correlation, level = recurrence.autocorrelation(chosen)
    lags = lab.sizes.frame_every * np.arange(len(correlation))
    found = recurrence.recurrences(correlation, level)
    summary.append({"s": s, "frames": len(chosen), "noise_level": level, "peaks": len(found),
                    "period": float(lags[found[-1]] / len(found)) if found else None,
                    "alike": recurrence.neighbours_alike(chosen),
                    "common": recurrence.common(chosen),
                    "correlation_at_period": float(correlation[found[0]]) if found else None})
    correlations += [{"s": s, "lag": int(lag), "correlation": float(value)}
                     for lag, value in zip(lags, correlation, strict=True)]
    shown = chosen[:ANIMATED_FRAMES, :SHOWN_EXAMPLES]
    series[str(s)] = {"steps": steps[:ANIMATED_FRAMES],
                      "perturbations": packing.pack(
                        np.round(shown * recorder.LEVELS).astype(np.int8))}
  data = {"series": series, "natural": packing.pack(lab.data.train.images[:SHOWN_EXAMPLES]),
          "epsilon": networks[0].config.attack.epsilon,
          "frame_every": lab.sizes.frame_every, "correlations": correlations, "summary": summary,
          "short": None, "long": None, "control": None}
  if lab.options.long:
    data["short"] = _ended(lab, networks[STALE])
    data["long"] = _ended(lab, lab.network(s=STALE, times=lab.options.long))
    data["control"] = _ended(lab, lab.network(times=lab.options.long))
  return data


def _ended(lab: Lab, network: Network):
  """Accuracy after and during a training."""
  return {**without(final_row(lab.accuracy(network, network.config.attack.k)), "right"),
          "curve": network.curve()}


def window(frames: np.ndarray, steps: int, every: int) -> tuple[np.ndarray, list[int]]:
  """Keeps the frames of `WINDOW`, at most `MOST_FRAMES`.

  Args:
    frames: one every so many steps.
    steps: of the training.
    every: steps from one frame to the next.

  Returns:
    (frames, their steps).
  """
  numbers = [number for number in range(len(frames))
             if WINDOW[0] * steps <= (number + 1) * every <= WINDOW[1] * steps][-MOST_FRAMES:]
  return frames[numbers], [(number + 1) * every for number in numbers]


def findings(data: dict[str, Any], settings: dict[str, Any]) -> Findings:
  """As `study.Study` says."""
  summary, every = {row["s"]: row for row in data["summary"]}, data["frame_every"]
  tables = [Table(
    f"Do perturbations of the same examples come back? Autocorrelation between {WINDOW[0]:.0%} and "
    f"{WINDOW[1]:.0%} of training, in frames {every} steps apart",
    ["s", "frames", "period (steps)", "peaks", "r at the first", "level of chance",
     "neighbouring pixels: r",
     "common to all examples"],
    [[s, row["frames"], _period(row), row["peaks"], _number(row["correlation_at_period"]),
      _number(row["noise_level"]),
      _number(row["alike"]), f"{row['common']:.0%}"] for s, row in summary.items()])]
  figures = [
    Figure("cycles_images", "Figure 6: adversarial examples of the same training images at "
                            "sequential steps, for networks "
           f"trained with s = 0 and s = {STALE}, each from a random start of its own.",
           lambda: _images(data)),
    Figure("cycles_animated", f"The same, animated: {plots.FRAMES_PER_SECOND * every} training "
                              "steps a second.",
           lambda: _animation(data)),
    Figure("cycles_correlation",
           "Autocorrelation of the perturbations; dotted: what chance stays below in 95 of 100 "
           "cases.", lambda: _correlation(data, summary), f"{recorder.EXAMPLES} training images")]
  records = {"cycles_correlation": data["correlations"], "cycles_summary": data["summary"]}
  runs = {name: data[name] for name in ("short", "long", "control") if data[name]}
  notes = []
  if runs:
    names = {"short": f"s = {STALE}", "long": f"s = {STALE}, {settings['long']:g}× the steps",
             "control": f"s = 0, {settings['long']:g}× the steps"}
    tables.append(Table(
      "The long run beside the short one, and beside a run of its length without staleness "
      f"({runs['long']['n']:,} test images)",
      ["network", "natural", "adversarial", "fresh and stale come together after",
       "learning rate then (of its highest)"],
      [[names[name], percent(run["natural_accuracy"], run["n"]),
        percent(run["adversarial_accuracy"], run["n"]),
        *_together(run["curve"], name == "control")] for name, run in runs.items()]))
    figures.append(Figure("cycles_long",
                          f"Figure 7: the network with s = {STALE}, trained for "
                          f"{settings['long']:g} times as long, beside the short run and a control "
                          "without staleness.",
                          lambda: curves.draw([(names[name], run["curve"])
                                               for name, run in runs.items()], width=2.9)))
    records |= {f"cycles_{name}": run["curve"] for name, run in runs.items()}
  else:
    notes.append("The long run of Figure 7 was not made (`--long 5` makes it).")
  return Findings("Cycles: Figures 6 and 7", list(_claims(summary, runs)), tables, figures, records,
                  notes)


def _number(value):
  return "–" if value is None else f"{value:.2f}"


def _period(row):
  return f"{row['period']:.0f}" if row["period"] else "none"


def _claims(summary, runs):
  plain, stale = summary[0], summary[STALE]
  measured = all(row["noise_level"] is not None for row in summary.values())
  yield Claim(f"With s = {STALE} adversarial examples move in a cycle, without staleness they do "
              "not.",
              stale["period"] is not None and plain["period"] is None if measured else None,
              "; ".join(f"s = {s}: " + (
                f"they come back every {_period(row)} steps, {row['peaks']} times (the first with "
                f"r = {row['correlation_at_period']:.2f}, by chance {row['noise_level']:.2f})"
                if row["period"] else "no period found") for s, row in summary.items()))
  yield Claim("The examples look random without staleness; with it a line segment moves over the "
              "page and back (Figure 6).", None,
              "for the eye, see the pictures; in numbers, correlation of neighbouring pixels "
              + "; ".join(f"s = {s}: {_number(row['alike'])}, {row['common']:.0%} of the "
                          "perturbation common to all examples"
                          for s, row in summary.items())
              + f" (by chance 0 and {1 / recorder.EXAMPLES:.0%})")
  claim = (f"Trained for {PAPER_LONG_STEPS:,} steps instead of 60,000, the network with s = "
           f"{STALE} catches up about halfway.")
  if not runs:
    yield Claim(claim, None, "not run")
    return
  short, long, control = runs["short"], runs["long"], runs["control"]
  yield Claim(claim, HALFWAY[0] <= (_caught_up(long["curve"]) or 0) <= HALFWAY[1],
              f"{_come_together(long['curve'])}; test: adversarial "
              f"{percent(long['adversarial_accuracy'], long['n'])}, control without staleness "
              f"{percent(control['adversarial_accuracy'], control['n'])}")
  yield _why_claim(short["curve"], long["curve"])


def _why_claim(short, long):
  """Whether the long run's longer time, or its falling learning rate, brings the two together.

  Both runs have the same schedule over their length. If time does it, they catch up after as many
  steps; if the rate does, at the same share of their schedule.
  """
  claim = "(Not in the paper:) it is time that makes it catch up, not a falling learning rate."
  shares = [_caught_up(curve) for curve in (short, long)]
  said = "; ".join(f"{name}: {_come_together(curve)}"
                   for name, curve in (("short run", short), ("long run", long)))
  if shares[1] is None:
    return Claim(claim, None, f"{said}: it did not catch up")
  reached = shares[1] * long[-1]["step"]
  if shares[0] is None:
    longer = reached > short[-1]["step"]
    return Claim(claim, True if longer else None, f"{said}: " + (
      "the short run went through all rates and did not, and had fewer steps in all than it took"
      if longer else
      "it took fewer steps than the short run has, at higher rates"))
  steps = shares[0] * short[-1]["step"]
  by_steps = abs(reached - steps) / max(reached, steps)
  by_share = abs(shares[1] - shares[0]) / max(shares)
  return Claim(claim, by_steps < by_share,
               f"{said}: nearer to each other in "
               f"{'steps' if by_steps < by_share else 'their share'}")


def _caught_up(curve):
  """Share of training after which fresh accuracy stays within 20 points of stale.

  None where it had never been below, or is not there in the end.
  """
  if curve[-1]["fresh_accuracy"] < 0.5:
    return None  # both have fallen: nothing climbed up to anything
  apart = [number for number, row in enumerate(curve)
           if row["stale_accuracy"] - row["fresh_accuracy"] > 0.2]
  # The end has to be a time of its own, not the last dot of a curve that is still apart.
  return (apart[-1] + 1) / len(curve) if apart and apart[-1] < 0.95 * len(curve) else None


def _together(curve, plain):
  """When fresh and stale came together and the rate at that time, as texts."""
  share = None if plain else _caught_up(curve)
  if share is None:
    return "–" if plain else "not", "–"
  row = curve[round(share * len(curve)) - 1]
  peak = max(row["learning_rate"] for row in curve)
  return f"{share:.0%} of training, {row['step']:,} steps", f"{row['learning_rate'] / peak:.0%}"


def _come_together(curve):
  share, last = _caught_up(curve), curve[-1]
  met = last["stale_accuracy"] - last["fresh_accuracy"] <= 0.2
  return (f"fresh {last['fresh_accuracy']:.0%}, stale {last['stale_accuracy']:.0%} at the end, "
          + (f"within 20 points of each other after {share:.0%} of training, "
             f"{round(share * last['step']):,} steps" if share else
             "which met as stale fell" if met else "which did not come together"))


def _adversarial(data):
  """{s: (steps, float images [frames, examples, height, width] in [0, 1])}."""
  natural = datasets.as_float(packing.unpack(data["natural"]))[..., 0]
  unit = data["epsilon"] / recorder.LEVELS
  return {int(s): (series["steps"],
                   np.clip(natural + unit * packing.unpack(series["perturbations"])[..., 0], 0, 1))
          for s, series in data["series"].items()}


def _images(data):
  series = _adversarial(data)
  rows = [(example, s) for example in range(SHOWN_EXAMPLES) for s in series]
  figure, axes = plots.grid(len(rows), SHOWN_FRAMES, width=1.0, height=1.05)
  for line, (example, s) in zip(axes, rows, strict=True):
    steps, images = series[s]
    every = slice(None, None, max(1, min(SHOWN_EVERY, len(steps) // SHOWN_FRAMES)))
    for axis in line:
      plots.no_axes(axis)
    for axis, step, image in zip(line, steps[every], images[every, example], strict=False):
      axis.imshow(image, cmap="gray", vmin=0, vmax=1)
      axis.set_title(f"{step:,}" if (example, s) == rows[0] else "")
    line[0].set_ylabel(f"s = {s}")
  figure.suptitle("training step")
  return figure


def _animation(data):
  series = _adversarial(data)
  figure, axes = plots.grid(len(series), SHOWN_EXAMPLES, width=1.5, height=1.6)
  shown = []
  for line, (s, (_, images)) in zip(axes, series.items(), strict=True):
    for axis, image in zip(line, images[0] if len(images) else (), strict=False):
      plots.no_axes(axis)
      shown.append(axis.imshow(image, cmap="gray", vmin=0, vmax=1))
    line[0].set_ylabel(f"s = {s}")
  frames = min(len(steps) for steps, _ in series.values())

  def update(number):
    images = [image for _, images in series.values() for image in images[number]]
    for artist, image in zip(shown, images, strict=True):
      artist.set_data(image)
    figure.suptitle(f"training step {next(iter(series.values()))[0][number]:,}")

  return plots.Animation(figure, update, frames)


def _correlation(data, summary):
  figure, ((axis,),) = plots.grid(1, 1, width=5.2, height=3.0)
  for colour, (s, row) in zip(plots.COLOURS, summary.items(), strict=False):
    own = [record for record in data["correlations"] if record["s"] == s]
    axis.plot([record["lag"] for record in own], [record["correlation"] for record in own],
              color=colour, marker=".",
              label=f"s = {s}, " + (f"period {_period(row)}" if row["period"] else "no period"))
    if row["noise_level"] is not None:
      axis.axhline(row["noise_level"], color=colour, linestyle=":", linewidth=1)
  axis.axhline(0, color="0.7", linewidth=0.8)
  axis.set_xlabel("lag (training steps)")
  axis.set_ylabel("autocorrelation of perturbations")
  axis.legend()
  return figure
