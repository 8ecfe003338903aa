"""The options of the studies."""

import pytest

from tf_madry.errors import UserError
from tf_madry.studies.lab import options


@pytest.mark.parametrize(("given", "said"), [
    ({"scale": 0.0}, "scale is 0.0"), ({"scale": 2.0}, "scale is 2.0"),
    ({"k_list": (0, 1)}, "k_list is"),
    ({"s_list": (4, 4)}, "s_list is"), ({"rates": (2e-3, 0.0)}, "rates is"),
    ({"rates": (float("nan"),)}, "rates is"),
    ({"r_list": (0,)}, "r_list is"), ({"constant_rates": (-1.0,)}, "constant_rates is"),
    ({"seeds": 0}, "seeds is 0"),
    ({"repeats": 0}, "repeats is 0"), ({"long": 0.5}, "long is 0.5"),
    ({"long": float("inf")}, "long is inf"),
    ({"t_adv": 1.0}, "t_train is None"), ({"slice": 0}, "slice is 0"),
    ({"headline_n": 10_001}, "headline_n is 10001"),
])
def test_bad_options_are_one_line(given, said):
  with pytest.raises(UserError, match=said):
    options.fill(**given)


def test_the_papers_size_is_the_papers():
  full = options.fill(scale=1.0)
  assert full.k_list == (1, 4, 8, 128) and full.precision == "float32" and full.long == 5
  assert full.s_list == (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
  assert full.steps == 60_000


def test_below_it_there_are_fewer_steps_and_what_is_given_counts():
  small = options.fill(scale=0.1, s_list=(64, 16), r_list=(100,))
  assert (small.steps, small.s_list, small.r_list) == (6_000, (0, 16, 64), (1, 100))
  assert small.settings(("s_list", "learning_rate")) == {
    "scale": 0.1, "seed": 0, "precision": small.precision, "s_list": [0, 16, 64],
    "learning_rate": 1e-3, "batch_size": 128}


def test_the_strongest_attackers_are_tried_on_fewer_images():
  assert [options.Sizes().after_training(k) for k in (1, 32, 128)] == [10_000, 10_000, 2_000]
