"""A batch that is split over replicas trains as one that is not."""

import subprocess
import sys

import numpy as np
import pytest

from tests.helpers import replicas as driver
from tests.helpers.processes import ROOT
from tests.helpers.training import arrays, rows
from tf_madry.training import loop
from tf_madry.training.stepper import Part


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
  folder = tmp_path_factory.mktemp("runs")
  command = [sys.executable, "-m", "tests.helpers.replicas", str(folder)]
  subprocess.run(command, cwd=ROOT, check=True)
  loop.train(driver.config(str(folder / "alone")))
  loop.train(driver.config(str(folder / "certified-alone"), **driver.CERTIFIED))
  return folder


@pytest.mark.parametrize(("name", "other"), [("1", "alone"), ("2", "alone"), ("3", "alone"), ("resumed", "alone"), ("certified", "certified-alone")])
def test_the_weights_are_those_of_one_device(runs, name, other):
  ours, theirs = arrays(runs / name), arrays(runs / other)
  assert ours.keys() == theirs.keys()
  for key, array in theirs.items():
    # Normalisation multiplies rounding errors by up to 316 where a unit hardly varies.
    rtol, atol = (1e-4, 2e-4) if name == "certified" else (0, 1e-4)
    np.testing.assert_allclose(ours[key], array, rtol=rtol, atol=atol, err_msg=key)
  seen, known = ([{key: row[key] for key in ("step", "split", "adversarial_accuracy", "natural_accuracy")}
                  for row in rows(runs / run)] for run in (name, other))
  assert seen == [row for row in known if row["step"] > driver.STOP or name != "resumed"]


def test_shares_are_whole_and_even():
  parts = Part.shares(128, 3)
  assert [(part.first, part.last) for part in parts] == [(0, 42), (42, 85), (85, 128)]
  assert sum(part.weight for part in parts) == pytest.approx(1)
  assert parts[1].of(np.arange(128)).tolist() == list(range(42, 85))
