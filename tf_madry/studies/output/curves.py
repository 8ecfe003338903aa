"""Fresh and stale accuracy during training, as Figures 5 and 7 show them."""

from collections.abc import Sequence
from typing import Any

from tf_madry.studies.output import plots

SMOOTHING = 3  # log lines that a point of a curve is the mean of

Curve = list[dict[str, Any]]  # of `Network.curve`


def draw(*lines: Sequence[tuple[str, Curve]], width: float = 2.1) -> plots.Figure:
  """A panel a network, (title, curve); each line of panels is a row of the figure.

  Grey is the learning rate, as a share of its highest.
  """
  columns = max(map(len, lines))
  figure, axes = plots.grid(len(lines), columns, width=width, height=2.5, sharex=True, sharey=True)
  for row, panels in zip(axes, lines, strict=True):
    for axis, (title, curve) in zip(row, panels, strict=False):
      _panel(axis, title, curve)
    row[0].set_ylabel("adversarial accuracy\n(training set)")
    for axis in row[len(panels):]:
      axis.set_visible(False)
  for axis in axes[-1]:
    axis.set_xlabel("training step")
  plots.legend_beside(figure, axes[0, 0])
  return figure


def _panel(axis, title, curve):
  steps = smooth([row["step"] for row in curve])
  for name, colour in (("stale", "tab:orange"), ("fresh", "tab:blue")):
    axis.plot(steps, smooth([row[f"{name}_accuracy"] for row in curve]), color=colour, label=name)
  peak = max(row["learning_rate"] for row in curve)
  axis.plot(steps, smooth([row["learning_rate"] / peak for row in curve]), color="0.7",
            linewidth=1, zorder=0, label="learning rate\n(of its highest)")
  axis.set_title(title)
  plots.percent_axis(axis)


def smooth(values: Sequence[float]) -> list[float]:
  """Means of `SMOOTHING` values that follow each other."""
  size = min(SMOOTHING, len(values))
  return [sum(values[start:start + size]) / size for start in range(len(values) - size + 1)]


def examples(curve: Curve, batch_size: int, plain: bool) -> int:
  """How many examples a point of a curve is of.

  A line without staleness is of one batch, others are of all their steps.
  """
  return SMOOTHING * batch_size * (1 if plain else min(row["step"] for row in curve))


def late(curve: Curve) -> tuple[float, float]:
  """(fresh, stale) accuracy: means over the second half of training."""
  half = curve[len(curve) // 2:]
  return tuple(sum(row[f"{name}_accuracy"] for row in half) / len(half)
               for name in ("fresh", "stale"))
