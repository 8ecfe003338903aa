"""What `takeoff` concludes from known numbers, and that it begins from the robust network."""

import numpy as np
import pytest

from tests.helpers.studies import SETTINGS, takeoff_data, tiny
from tf_madry import checkpoints
from tf_madry.studies import takeoff


@pytest.mark.parametrize(("holds", "seen"), [
    (lambda rate, s: s < 60, [True, False]), (lambda rate, s: True, [False, None]),
    # The lowest rate shows no fall: three are needed before a unit can be told.
    (lambda rate, s: rate * s < 0.033, [True, None])])
def test_what_is_the_unit_of_staleness(holds, seen):
  assert [claim.seen for claim in takeoff.findings(takeoff_data(holds), SETTINGS).claims] == seen


def test_a_unit_that_three_rates_show_is_seen():
  data = takeoff_data(lambda rate, s: rate * s < 0.033, rates=(3e-4, 5e-4, 7e-4),
                      s_list=(0, 32, 40, 50, 60, 70, 90, 105, 120))
  assert [claim.seen for claim in takeoff.findings(data, SETTINGS).claims] == [True, True]


def test_it_goes_on_from_the_robust_network(tmp_path):
  lab = tiny(tmp_path, s_list=(0,), constant_rates=(1e-9,), seeds=1)
  data = takeoff.collect(lab)
  robust = lab.network(k=8)
  more = lab.continued(robust, steps=data["steps"], learning_rate=1e-9, seed=0)
  ours, theirs = (checkpoints.read_newest(network.folder).arrays for network in (more, robust))
  weights = [name for name in theirs if name.startswith("model/")]
  assert weights and all(np.allclose(ours[name], theirs[name], atol=1e-7) for name in weights)
  assert more.made["begins_as"] == robust.name and more.config.training.schedule == "constant"
  other = lab.network(k=8, learning_rate=5e-4)
  assert lab.continued(other, steps=data["steps"], learning_rate=1e-9, seed=0).name != more.name
