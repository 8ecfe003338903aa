"""What is written of studies: CSV files, plots, the report."""

import csv
import os
import pathlib

import pytest

from tests.helpers.studies import (
  SETTINGS,
  STALE,
  cycle_data,
  paper_cells,
  power_data,
  reload_data,
  speed_data,
  stale_data,
  takeoff_data,
)
from tf_madry.errors import UserError
from tf_madry.studies import STUDIES
from tf_madry.studies.output import plots, report, results

RELOADS = {("constant", 0): 0.9, ("reload", 100): 0.9, ("constant", 48): 0.3}
MADE = {"power": (power_data(), {"k_list": [1, 8]}),
        "transfer": (paper_cells(), {"k_list": [1, 4, 8, 128]}),
        "staleness": (stale_data(), STALE), "reload": (reload_data(RELOADS), {}),
        "takeoff": (takeoff_data(lambda rate, s: s < 60), {}),
        "cycles": (cycle_data(), {"long": 5.0}),
        "speedup": (speed_data(), {})}


def test_every_study_draws_its_numbers_and_the_report_has_them(tmp_path, monkeypatch):
  out, drawn = str(tmp_path), []
  monkeypatch.setattr(plots, "save", lambda path, draw, of: drawn.append((path, draw())))
  for name, (data, settings) in MADE.items():
    results.save(out, name, results.Results(SETTINGS | settings, {"on": "nothing"}, 61.0, data))
    found = results.load(out, name)
    report.draw(out, report.findings_of(out, name, found), found.settings)
  names = [os.path.basename(path) for path, _ in drawn]
  assert len(names) == len(set(names)) == 3 + 1 + 2 + 2 + 1 + 4 + 4
  with open(tmp_path / "transfer.csv", encoding="utf-8", newline="") as file:
    rows = list(csv.DictReader(file))
  assert len(rows) == 16
  assert rows[1] == {"target": "1", "source": "4", "attack_k": "1", "n": "10000",
                     "natural_accuracy": "0.98",
                     "adversarial_accuracy": "0.4863", "low": rows[1]["low"],
                     "high": rows[1]["high"], "paper": "0.4863",
                     "shattered": "True"}
  report.write(out)
  text = (tmp_path / report.NAME).read_text()
  for said in ("## Attacker power", "## Transfer", "## Staleness", "## Reload", "## Take-off",
               "## Cycles", "(transfer.png)",
               "(cycles_animated.gif)", "| 8 | 18 | 98.0%", "(speedup.png)", "(speedup_network.png)",
               "600 steps of batch 128, 1.4 epochs", "## Not run",
               "`headline`"):
    assert said in text
  figure = next(figure for path, figure in drawn if path.endswith("power_final"))
  assert "training κ" in {axis.get_xlabel() for axis in figure.axes}


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_without_numbers_is_one_line(tmp_path, name):
  out = str(tmp_path)
  results.save(out, name, results.Results(SETTINGS, {}, 61.0, {}))
  with pytest.raises(UserError, match=f"{name}.json' does not hold what {name} measures"):
    report.write(out)


def test_one_study_that_cannot_be_drawn_leaves_the_others(tmp_path, capsys):
  for name in ("transfer", "staleness"):
    data, settings = MADE[name] if name == "transfer" else ({}, {})
    found = results.Results(SETTINGS | settings, {"on": "nothing"}, 61.0, data)
    results.save(str(tmp_path), name, found)
  text = pathlib.Path(report.write(str(tmp_path))).read_text()
  assert "## Transfer" in text and "## Not drawn\n\n`staleness`: " in text
  assert "staleness.json' does not hold what staleness measures" in capsys.readouterr().err


def test_a_folder_without_studies_cannot_be_reported(tmp_path):
  with pytest.raises(UserError, match=r"accepted: a folder that holds power.json"):
    report.write(str(tmp_path))


def test_the_size_of_studies_from_before_the_batch_was_recorded():
  old = {"scale": 0.03}
  assert report.training_size(old).startswith("Networks are trained for 1,800 steps of batch 16, "
                                              "0.524 epochs")
  assert "6,000 steps of batch 128, 14 epochs" in report.training_size({"scale": 0.1,
                                                                        "batch_size": 128})
