"""The command line of the studies."""

import os
import subprocess
import sys

import pytest

from tests.helpers.processes import ROOT
from tests.helpers.studies import SETTINGS, paper_cells
from tf_madry.studies import STUDIES
from tf_madry.studies.output import results


def command(*arguments, cwd):
  run = subprocess.run([sys.executable, "-m", "tf_madry.studies", *arguments], cwd=cwd,
                       capture_output=True, text=True,
                       env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False)
  return run.returncode, run.stdout, run.stderr


def test_a_study_can_be_drawn_again_without_its_networks(tmp_path):
  found = results.Results(SETTINGS | {"k_list": [1, 4, 8, 128]}, {}, 61.0, paper_cells())
  results.save(str(tmp_path), "transfer", found)
  code, output, _ = command("transfer", "--plot_only", "--out=.", "--k_list=1,4,8,128",
                            cwd=tmp_path)
  assert code == 0 and "## Transfer: Table 1" in output
  assert sorted(os.listdir(tmp_path)) == ["transfer.csv", "transfer.json", "transfer.png",
                                          "transfer.svg"]
  code, _, errors = command("transfer", "--plot_only", "--out=.", "--seed=1", cwd=tmp_path)
  assert code == 2 and len(errors.splitlines()) == 1
  assert "holds transfer with seed 0, not 1" in errors


@pytest.mark.parametrize(("arguments", "said"), [
    (["speed"], f"study is 'speed', accepted: one of {', '.join(STUDIES)}"), ([], "study is ''"),
    (["power", "--k_list=1,two"], "k_list is '1,two', accepted: numbers with commas between them"),
])
def test_bad_input_is_one_line_and_makes_nothing(tmp_path, arguments, said):
  code, _, errors = command(*arguments, cwd=tmp_path)
  assert code == 2 and said in errors and len(errors.splitlines()) == 1
  assert os.listdir(tmp_path) == []
