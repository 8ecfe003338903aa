"""Do stale adversarial examples go round in circles? (§5, Figures 6 and 7)"""

import numpy as np

from tf_madry import datasets
from tf_madry.errors import require
from tf_madry.studies.lab import networks as labs
from tf_madry.studies.lab import recording
from tf_madry.studies.output import outcomes, plots
from tf_madry.studies.output.outcomes import Claim, Figure, Findings, Table, percent

OPTIONS = ("long", "learning_rate")
STALE = 64  # of Figures 6 and 7
WINDOW = (0.2, 0.9)  # share of training that is looked at: ε has risen, the learning rate has not fallen to nothing yet
MOST_FRAMES = 512  # at its end; 64 times the 64 steps that a batch waits
FEWEST_FRAMES = 4  # that have an autocorrelation
SHOWN_EXAMPLES, SHOWN_FRAMES = 3, 8  # Figure 6 shows one example, 4 times with s = 0 and 8 times with s = 64
SHOWN_EVERY = 3  # frames: together three times the steps that a batch waits with s = 64
ANIMATED_FRAMES = 40
SHUFFLES = 200

# §5: the s = 64 network that was trained for 300,000 steps instead of 60,000 caught up "about halfway through training".
PAPER_LONG_STEPS, PAPER_CAUGHT_UP = 300_000, 0.5
HALFWAY = (0.25, 0.75)  # shares of training that pass for "about halfway"


def measure(lab):
  """The perturbations of the same examples at sequential steps, without staleness and with; the long run, if asked for."""
  _, steps = window(np.arange(lab.steps // recording.FRAME_EVERY), lab.steps)
  require(len(steps) >= FEWEST_FRAMES, "scale", lab.options.scale,
          f"more: there are {len(steps)} frames to look for cycles in, and {FEWEST_FRAMES} are the fewest")
  networks = {s: lab.network(staleness=s) for s in (0, STALE)}
  series, correlations, summary = {}, [], []
  for s, network in networks.items():
    chosen, steps = window(network.frames, network.steps)
    correlation, level = autocorrelation(chosen)
    lags = recording.FRAME_EVERY * np.arange(len(correlation))
    found = recurrences(correlation, level)
    summary.append({"s": s, "frames": len(chosen), "noise_level": level, "peaks": len(found),
                    "period": float(lags[found[-1]] / len(found)) if found else None,
                    "resolution": recording.FRAME_EVERY / len(found) if found else None,
                    "correlation_at_period": float(correlation[found[0]]) if found else None})
    correlations += [{"s": s, "lag": int(lag), "correlation": float(value)}
                     for lag, value in zip(lags, correlation, strict=True)]
    shown = chosen[:ANIMATED_FRAMES, :SHOWN_EXAMPLES]
    series[str(s)] = {"steps": steps[:ANIMATED_FRAMES],
                      "perturbations": outcomes.pack(np.round(shown * recording.LEVELS).astype(np.int8))}
  data = {"series": series, "natural": outcomes.pack(lab.data.train.images[:SHOWN_EXAMPLES]),
          "epsilon": networks[0].config.attack.epsilon, "correlations": correlations, "summary": summary, "long": None}
  if lab.options.long:
    data["long"] = _ended(lab, lab.network(staleness=STALE, times=lab.options.long))
    data["long"]["control"] = _ended(lab, lab.network(times=lab.options.long))
  return data


def _ended(lab, network):
  """Accuracy after and during a training, as JSON has it."""
  result = lab.accuracy(network, network.config.attack.k)
  return {"n": result["n"], "natural_accuracy": result["natural_accuracy"],
          "adversarial_accuracy": result["adversarial_accuracy"],
          "curve": [{"step": row["step"], "fresh_accuracy": row.get("fresh_accuracy", row["adversarial_accuracy"]),
                     "stale_accuracy": row.get("stale_accuracy", row["adversarial_accuracy"])} for row in network.rows]}


def window(frames, steps):
  """The frames of `WINDOW`, at most `MOST_FRAMES`, of a training of so many steps, and their steps."""
  numbers = [number for number in range(len(frames))
             if WINDOW[0] * steps <= (number + 1) * recording.FRAME_EVERY <= WINDOW[1] * steps][-MOST_FRAMES:]
  return frames[numbers], [(number + 1) * recording.FRAME_EVERY for number in numbers]


def autocorrelation(frames):
  """How much the perturbations of the same examples are alike at some distance in time.

  What stays the same all the time is taken away first: it is no cycle.

  Args:
    frames: float array [frames, …].

  Returns:
    (correlation, level): [lags], 1 at lag 0, for lags up to two thirds of the frames; and what the largest of the others
    stays below in 95 of 100 random orders of the frames. ([], None) for fewer than `FEWEST_FRAMES`.
  """
  if len(frames) < FEWEST_FRAMES:
    return np.zeros(0), None
  flat = frames.reshape(len(frames), -1).astype(np.float64)
  flat -= flat.mean(0)
  products = flat @ flat.T
  random = np.random.default_rng(0)
  orders = (random.permutation(len(frames)) for _ in range(SHUFFLES))
  largest = [_at_lags(products[np.ix_(order, order)])[1:].max() for order in orders]
  return _at_lags(products), float(np.quantile(largest, 0.95))


def _at_lags(products):
  power = np.trace(products) / len(products) or 1.0
  return np.array([np.diagonal(products, lag).mean() for lag in range(2 * len(products) // 3 + 1)]) / power


def recurrences(correlation, level):
  """The lags at which perturbations come back for the first time, the second, …; [] if they do not come back twice.

  Peaks count that lie behind the first lag at which perturbations are no longer alike (below 0) and above the level of
  chance. A cycle has one near every multiple of its period: the first of those that are nearly as high as the highest is
  the first, and what lies around 0 draws it a little away from the period. The last by its number is nearer to it.
  """
  apart = np.flatnonzero(correlation < 0)
  if not len(apart):
    return []
  peaks = [lag for lag in range(apart[0] + 1, len(correlation) - 1)
           if correlation[lag] == correlation[lag - 1:lag + 2].max() and correlation[lag] > max(level, 0.0)]
  found = [lag for lag in peaks if correlation[lag] > 0.8 * correlation[peaks].max()][:1]
  while found:
    expected = found[-1] * (len(found) + 1) / len(found)
    nearest = min(peaks, key=lambda lag, expected=expected: abs(lag - expected))
    if abs(nearest - expected) > found[0] / 4:
      break
    found.append(nearest)
  return found if len(found) > 1 else []


def findings(data, settings):
  """As `tf_madry.studies` says."""
  summary = {row["s"]: row for row in data["summary"]}
  table = Table(
    "Do perturbations of the same examples come back? Autocorrelation "
    f"between {WINDOW[0]:.0%} and {WINDOW[1]:.0%} of training",
    ["s", "frames", "period (steps)", "peaks", "r at the first", "level of chance"],
    [[s, row["frames"], _period(row) or "none", row["peaks"], _number(row["correlation_at_period"]),
      _number(row["noise_level"])] for s, row in summary.items()])
  long = data["long"]
  figures = [
    Figure("cycles_images", "Figure 6: adversarial examples of the same training images at sequential steps, for networks "
           f"trained with s = 0 and s = {STALE}, each from a random start of its own.", lambda: _images(data)),
    Figure("cycles_animated", f"The same, animated: {plots.FRAMES_PER_SECOND * recording.FRAME_EVERY} training steps a "
           "second.", lambda: _animation(data)),
    Figure("cycles_correlation", "Autocorrelation of the perturbations; dotted: what chance stays below in 95 of 100 "
           "cases.", lambda: _correlation(data, summary), f"{recording.EXAMPLES} training images")]
  if long:
    figures.append(Figure("cycles_long", f"Figure 7: the network with s = {STALE} trained for {settings['long']:g} times as "
                          "long (grey: where the paper's caught up).", lambda: _long(long)))
  records = {"cycles_correlation": data["correlations"], "cycles_summary": data["summary"]}
  return Findings("Cycles: Figures 6 and 7", _claims(summary, long), [table], figures,
                  records | ({"cycles_long": long["curve"]} if long else {}),
                  [labs.size(settings), *([] if long else ["The long run of Figure 7 was not made (`--long 5` makes it)."])])


def _number(value):
  return "–" if value is None else f"{value:.2f}"


def _period(row):
  """A line of the summary as a text on the period: the mean distance of peaks, as fine as frames tell it; or None."""
  return row["period"] and f"{row['period']:.0f} ± {row['resolution']:.1g}"


def _claims(summary, long):
  periods = {s: row["period"] for s, row in summary.items()}
  measured = all(row["noise_level"] is not None for row in summary.values())
  return [
    Claim(f"With s = {STALE} adversarial examples move in a cycle, without staleness they do not.",
          periods[STALE] is not None and periods[0] is None if measured else None,
          "; ".join(f"s = {s}: " + (
            f"they come back every {_period(row)} steps, {row['peaks']} times (the first with r = "
            f"{row['correlation_at_period']:.2f}, by chance {row['noise_level']:.2f})" if row["period"] else "no period found")
                    for s, row in summary.items())),
    Claim(f"Trained for {PAPER_LONG_STEPS:,} steps instead of 60,000, the network with s = {STALE} catches up about halfway.",
          long and HALFWAY[0] <= (_caught_up(long["curve"]) or 0) <= HALFWAY[1],
          _long_evidence(long) if long else "not run")]


def _caught_up(curve):
  """Share of training after which the fresh accuracy stays within 20 points of the stale, which it had been below."""
  apart = [number for number, row in enumerate(curve) if row["stale_accuracy"] - row["fresh_accuracy"] > 0.2]
  # The end has to be a time of its own, not the last dot of a curve that is still apart.
  return (apart[-1] + 1) / len(curve) if apart and apart[-1] < 0.95 * len(curve) else None


def _long_evidence(long):
  share, last = _caught_up(long["curve"]), long["curve"][-1]
  return (f"fresh {last['fresh_accuracy']:.0%}, stale {last['stale_accuracy']:.0%} at the end; "
          + (f"within 20 points of each other after {share:.0%} of training" if share else "they did not come together")
          + f"; test: natural {percent(long['natural_accuracy'], long['n'])}, adversarial "
            f"{percent(long['adversarial_accuracy'], long['n'])}")


def _adversarial(data):
  """{s: (steps, float images [frames, examples, height, width] in [0, 1])}."""
  natural = datasets.as_float(outcomes.unpack(data["natural"]))[..., 0]
  unit = data["epsilon"] / recording.LEVELS
  return {int(s): (series["steps"], np.clip(natural + unit * outcomes.unpack(series["perturbations"])[..., 0], 0, 1))
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
    axis.plot([record["lag"] for record in own], [record["correlation"] for record in own], color=colour, marker=".",
              label=f"s = {s}" + (f", period {_period(row)}" if row["period"] else ", no period"))
    if row["noise_level"] is not None:
      axis.axhline(row["noise_level"], color=colour, linestyle=":", linewidth=1)
  axis.axhline(0, color="0.7", linewidth=0.8)
  axis.set_xlabel("lag (training steps)")
  axis.set_ylabel("autocorrelation of perturbations")
  axis.legend()
  return figure


def _long(long):
  figure, ((axis,),) = plots.grid(1, 1, width=5.2, height=3.0)
  steps = [row["step"] for row in long["curve"]]
  for name, colour in (("stale", "tab:orange"), ("fresh", "tab:blue")):
    axis.plot(steps, [row[f"{name}_accuracy"] for row in long["curve"]], color=colour, label=name)
  axis.axvline(PAPER_CAUGHT_UP * steps[-1], **plots.PAPER)
  plots.percent_axis(axis)
  axis.set_xlabel("training step")
  axis.set_ylabel("adversarial accuracy, training set")
  axis.legend()
  return figure
