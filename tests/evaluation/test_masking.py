"""Signs of masked gradients."""

import pytest
import tensorflow as tf

from tests.helpers.evaluating import Breaks, attempt, record, toy
from tf_madry.attacks.suite import Suite
from tf_madry.evaluation import masking, suite
from tf_madry.evaluation.masking import Comparison

QUICK = Suite(epsilon=0.02, k=20, queries=100)


MASKS = {"rounded pixels": lambda images: tf.round(images * 64) / 64,
          "gradients of NaN": lambda images: images + tf.sqrt(0 * images)}


@pytest.mark.parametrize("mask", ["saturated logits", *MASKS])
def test_a_model_that_masks_its_gradients_is_found_out(tmp_path, mask):
  loaded, split = toy(wrap=MASKS.get(mask))
  if mask not in MASKS:
    output = loaded.model.layers[-1]
    output.set_weights([weights * 1e5 for weights in output.get_weights()])
  result, _ = suite.run(loaded, QUICK, split, batch_size=60, folder=str(tmp_path),
                        say=lambda line: None)
  said = " ".join(result.warnings)
  assert "54 of 54 examples (100.0%) have an input gradient of exactly zero" in said
  assert "54 of 54 examples (100.0%) stand against PGD-40 at ε = 1" in said
  assert ("fell to Square" if mask in MASKS else "fell to APGD-T or multi-targeted") in said


def test_a_comparison_counts_what_withstood_the_weak_and_fell_to_the_strong():
  known = record({"weak": Breaks(0, 1), "strong": Breaks(1, *range(10, 16))})
  for name in ("weak", "strong"):
    attempt(known, name)
  assert masking.beyond(known, Comparison(("strong",), ("weak",),
                                          "fell")).startswith("6 of 20 examples (30.0%) fell")
  assert masking.beyond(known, Comparison(("weak",), ("strong",),
                                          "fell")) is None  # one of 20 may be chance
