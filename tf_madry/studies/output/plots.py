"""The only place that knows matplotlib: how figures look and how they are written."""

import dataclasses
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.animation
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter, PercentFormatter

from tf_madry.runtime import files

# The paper's values, wherever they are drawn.
PAPER = {"color": "0.45", "linestyle": "--", "linewidth": 1.2}
COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown", "tab:pink",
           "tab:olive")
FRAMES_PER_SECOND = 6
STYLE = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
         "grid.alpha": 0.25,
         "axes.titlesize": 10, "legend.fontsize": 8, "legend.frameon": False, "figure.dpi": 110,
         "svg.hashsalt": "tf_madry"}  # the same plot is the same file


@dataclasses.dataclass(frozen=True)
class Animation:
  """A figure that moves: `update(number)` draws frame `number` of so many `frames`."""

  figure: Figure
  update: Callable[[int], None]
  frames: int


def grid(rows: int, columns: int, width: float = 3.4, height: float = 2.7,
         **options: Any) -> tuple[Figure, np.ndarray]:
  """A figure of rows × columns plots, so many inches each: (figure, axes [rows, columns])."""
  return plt.subplots(rows, columns, figsize=(columns * width, rows * height), squeeze=False,
                      layout="constrained",
                      **options)


def log_ticks(axis: Axis) -> None:
  """Ticks at 1, 2, 5, 10, 20, … with plain numbers, for a logarithmic `axis.xaxis` or `axis.yaxis`.
  """
  axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
  axis.set_major_formatter(FormatStrFormatter("%g"))
  axis.set_minor_formatter(NullFormatter())


def legend_beside(figure: Figure, axis: Axes, **options: Any) -> None:
  """The legend of one of the plots, to the right of all of them."""
  figure.legend(*axis.get_legend_handles_labels(), loc="outside right center", **options)


def percent_axis(axis: Axes) -> None:
  """Makes a y axis one of accuracies, from 0 to 100 %."""
  if axis.get_label() != "<colorbar>":
    axis.set_ylim(-0.02, 1.02)
  axis.yaxis.set_major_formatter(PercentFormatter(1.0))


def no_axes(axis: Axes) -> None:
  """Leaves of an axis only its title and its label: for images."""
  axis.set_xticks([])
  axis.set_yticks([])
  axis.grid(False)
  axis.spines[:].set_visible(False)


def frame(x: float, y: float, size: float) -> mpl.patches.Rectangle:
  """A square frame that marks a cell of an image."""
  return mpl.patches.Rectangle((x, y), size, size, fill=False, linewidth=2)


def with_intervals(axis: Axes, positions: Iterable[float], rows: Sequence[dict[str, Any]],
                   **style: Any) -> None:
  """Draws adversarial accuracies with their intervals.

  A row has `adversarial_accuracy`, `low` and `high`.
  """
  values = [row["adversarial_accuracy"] for row in rows]
  bars = [[value - row["low"] for value, row in zip(values, rows, strict=True)],
          [row["high"] - value for value, row in zip(values, rows, strict=True)]]
  axis.errorbar(list(positions), values, bars, **{"marker": ".", "capsize": 2} | style)


def log_axis_with_zero(axis: Axes, ticks: Iterable[float]) -> Callable[[float], float]:
  """Makes an x axis a logarithmic one with 0 apart at its left end, behind a dotted line.

  Returns:
    The position of a value.
  """
  ticks = sorted(set(ticks))
  least = math.log2(min(value for value in ticks if value))

  def position(value):
    return math.log2(value) if value else least - 1

  axis.set_xticks([position(value) for value in ticks], [f"{value:g}" for value in ticks])
  if 0 in ticks:
    axis.axvline(least - 0.5, color="0.5", linestyle=":", linewidth=1)
  return position


def file_name(name: str) -> str:
  """Of the file to show for a figure."""
  return f"{name}.{'gif' if name.endswith('_animated') else 'png'}"


def save(path: str, draw: Callable[[], Figure | Animation], of: str) -> None:
  """Writes a figure as PNG and SVG, an `Animation` as GIF.

  Below it stands in small letters what it is `of`.

  Raises:
    UserError: a file cannot be written.
  """
  with mpl.rc_context(STYLE):
    drawn = draw()
    figure = drawn.figure if isinstance(drawn, Animation) else drawn
    figure.supxlabel(of, x=0.99, ha="right", fontsize=6, color="0.4")
    if isinstance(drawn, Animation):
      _save_animation(f"{path}.gif", drawn)
      plt.close(drawn.figure)
      return
    for ending, metadata in (("png", None), ("svg", {"Date": None})):
      with files.output("plot", f"{path}.{ending}") as file:
        drawn.savefig(file, format=ending, dpi=150, metadata=metadata)
    plt.close(drawn)


def _save_animation(path, drawn):
  with tempfile.TemporaryDirectory() as folder:
    temporary = os.path.join(folder, "animation.gif")
    writer = matplotlib.animation.PillowWriter(fps=FRAMES_PER_SECOND)
    with writer.saving(drawn.figure, temporary, dpi=70):
      for number in range(drawn.frames):
        drawn.update(number)
        writer.grab_frame()
    with open(temporary, "rb") as finished, files.output("plot", path) as file:
      file.write(finished.read())
