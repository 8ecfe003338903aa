"""Places on the challenge's leaderboards."""

import pytest

from tf_madry.evaluation import published


@pytest.mark.parametrize(("value", "place"), [
    (0.87, "place 1 of 19, before Guided Local Attack (88.00%)"),
    (0.88, "place 2 of 19, after Guided Local Attack (88.00%), before PCROS (88.04%)"),
    (0.8951, "place 13 of 19, after logit difference, best target (88.85%), before PGD-100, cross-entropy, 50 restarts "
     "(89.62%)"),
    (0.99, "place 19 of 19, after FGSM, CW loss (96.40%)")])
def test_places_on_the_leaderboard(value, place):
  assert published.place(value, published.WHITE_BOX) == place
