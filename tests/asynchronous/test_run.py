"""What is said of an asynchronous run before it begins."""

import pytest

from tf_madry import config as configs
from tf_madry.asynchronous.run import notices


@pytest.mark.parametrize(("given", "recipe", "said"), [
    ({}, "quick", True), ({}, "paper", False), ({"max_staleness": 32}, "quick", False),
    ({"workers": 0}, "quick", False), ({"reload_every": 10}, "quick", False),
    ({"reload_every": 1000}, "paper", True)])
def test_staleness_that_costs_robustness_is_told_with_its_remedy(given, recipe, said):
  lines = list(notices(configs.resolve(given, recipe)[0]))
  assert len(lines) == said and all("--max_staleness 32" in line for line in lines)
