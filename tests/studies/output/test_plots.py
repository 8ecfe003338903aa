"""How figures are written."""

import pytest

from tf_madry.errors import UserError
from tf_madry.studies.output import plots


def test_figures_are_whole_files_and_the_same_each_time(tmp_path):
  def draw():
    figure, ((axis,),) = plots.grid(1, 1)
    axis.plot([0, 1], [0, 1])
    return figure

  def move():
    figure, ((axis,),) = plots.grid(1, 1, width=1, height=1)
    return plots.Animation(figure, lambda number: axis.set_title(str(number)), 3)

  for name in ("one", "other"):
    plots.save(str(tmp_path / name), draw, "n = 1")
  assert (tmp_path / "one.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
  assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "other.svg").read_bytes()
  plots.save(str(tmp_path / "moving"), move, "n = 1")
  assert (tmp_path / "moving.gif").read_bytes()[:6] == b"GIF89a"
  with pytest.raises(UserError, match="cannot be written"):
    plots.save(str(tmp_path / "nowhere" / "one"), draw, "")


def test_zero_stands_apart_from_a_logarithmic_axis():
  _, ((axis,),) = plots.grid(1, 1)
  position = plots.log_axis_with_zero(axis, [64, 0, 16])
  assert [position(value) for value in (0, 16, 64)] == [3, 4, 6]
  assert [label.get_text() for label in axis.get_xticklabels()] == ["0", "16", "64"]
