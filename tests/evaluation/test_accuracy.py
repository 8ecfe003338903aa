"""One attack on every example."""

import pytest

from tests.helpers.evaluating import eval_script, train
from tf_madry import checkpoints, datasets
from tf_madry.attacks.pgd import PGD
from tf_madry.evaluation import accuracy
from tf_madry.models import loading


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
  return train(tmp_path_factory.mktemp("evaluation") / "model")


def test_an_attack_from_a_source(tmp_path, capsys, model_dir):
  source = train(tmp_path / "source", seed=5)
  assert eval_script(f"--model_dir={model_dir}", f"--source={source}", "--epsilon=0.1",
                     "--num_examples=20") == 0
  assert f"20 test examples, spread over the split; source 1: {checkpoints.list_paths(source)[0]}" in capsys.readouterr().out
  target, split = loading.load_model(model_dir).model, datasets.load().test.head(100)
  attack = PGD(epsilon=0.1, k=4)
  white = accuracy.evaluate(target, attack, split)
  black = accuracy.evaluate(target, attack, split, source=loading.load_model(source).model)
  assert white.adversarial_accuracy < black.adversarial_accuracy < black.natural_accuracy == white.natural_accuracy
