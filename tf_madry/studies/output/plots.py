"""The only place that knows matplotlib: how figures look and how they are written."""

import dataclasses
import os
import tempfile
import typing

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.animation
import matplotlib.pyplot as plt
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter, PercentFormatter

from tf_madry.runtime import files

PAPER = {"color": "0.45", "linestyle": "--", "linewidth": 1.2}  # the paper's values, wherever they are drawn
COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown", "tab:pink", "tab:olive")
FRAMES_PER_SECOND = 6
STYLE = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.25,
         "axes.titlesize": 10, "legend.fontsize": 8, "legend.frameon": False, "figure.dpi": 110,
         "svg.hashsalt": "tf_madry"}  # the same plot is the same file


@dataclasses.dataclass(frozen=True)
class Animation:
  """A figure that moves: `update(number)` draws frame `number` of so many `frames`."""

  figure: typing.Any
  update: typing.Callable
  frames: int


def grid(rows, columns, width=3.4, height=2.7, **options):
  """A figure of rows × columns plots; returns (figure, axes [rows, columns])."""
  return plt.subplots(rows, columns, figsize=(columns * width, rows * height), squeeze=False, layout="constrained",
                      **options)


def log_ticks(axis):
  """Ticks at 1, 2, 5, 10, 20, … with plain numbers, for a logarithmic `axis.xaxis` or `axis.yaxis`."""
  axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
  axis.set_major_formatter(FormatStrFormatter("%g"))
  axis.set_minor_formatter(NullFormatter())


def legend_beside(figure, axis, **options):
  """The legend of one of the plots, to the right of all of them."""
  figure.legend(*axis.get_legend_handles_labels(), loc="outside right center", **options)


def percent_axis(axis):
  """Makes a y axis one of accuracies, from 0 to 100 %."""
  if axis.get_label() != "<colorbar>":
    axis.set_ylim(-0.02, 1.02)
  axis.yaxis.set_major_formatter(PercentFormatter(1.0))


def no_axes(axis):
  """Leaves of an axis only its title and its label: for images."""
  axis.set_xticks([])
  axis.set_yticks([])
  axis.grid(False)
  axis.spines[:].set_visible(False)


def frame(x, y, size):
  """A square frame that marks a cell of an image."""
  return mpl.patches.Rectangle((x, y), size, size, fill=False, linewidth=2)


def file_name(figure):
  """Of the file to show for an `outcomes.Figure`."""
  return f"{figure.name}.{'gif' if figure.name.endswith('_animated') else 'png'}"


def save(path, draw, of):
  """Writes what `draw()` returns, a figure as PNG and SVG, an `Animation` as GIF, under `path` with their endings.

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
