"""What the parts of a step cost while all cores are busy."""

import pytest

from tf_madry import config as configs
from tf_madry.errors import UserError
from tf_madry.runtime import devices
from tf_madry.studies.lab import costs


def test_every_core_has_a_process_that_measures():
  found = costs.of_this_machine(configs.resolve({"k": 1, "batch_size": 2})[0])
  assert found["processes"] == len(devices.gpus()) or found["processes"] == devices.cores()
  assert all(found[name] > 0 for name in ("craft", "learn", "publish", "reload"))


def test_a_process_that_dies_is_one_line():
  with pytest.raises(UserError,
                     match="a process that measures costs ended with exit code 1; --t_adv"):
    costs.of_this_machine(configs.resolve({"dataset": "nowhere"})[0])
