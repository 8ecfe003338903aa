"""A quick look at a pretrained network, to be found again by who checks its card."""

import dataclasses
from typing import Any

from tf_madry import datasets
from tf_madry.attacks.pgd import PGD
from tf_madry.evaluation import accuracy
from tf_madry.models import loading

EXAMPLES = 200  # test images, spread over the set: ±5 points, in seconds


def check(name: str) -> dict[str, Any]:
  """What the rounded weights give on a few test images, for tests to find again."""
  loaded = loading.load_model(f"pretrained/{name}")
  config = loaded.config
  examples = datasets.load(config.training.dataset).test.spread(EXAMPLES)
  attack = PGD(k=8, epsilon=config.attack.epsilon)
  result = dataclasses.asdict(accuracy.evaluate(loaded.model, attack, examples))
  return {key: value for key, value in result.items() if key != "seconds"}
