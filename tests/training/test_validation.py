"""Which weights and which attack the numbers of a run are of."""

import json

import numpy as np
import pytest

from tf_madry import config as configs
from tf_madry import datasets
from tf_madry.attacks.losses import score
from tf_madry.attacks.pgd import PGD
from tf_madry.evaluation import accuracy
from tf_madry.training import loop, validation
from tf_madry.training.synchronous import Synchronous

SMALL = {"k": 3, "batch_size": 8, "candidates": 1, "initialization": "he", "eval_every": 0,
         "log_every": 2}


def config(model_dir, **settings):
  return configs.resolve({**SMALL, "model_dir": str(model_dir), **settings}, "fast")[0]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_what_is_logged_is_of_the_result_after_the_step(tmp_path, precision):
  results = []

  class Stepper(Synchronous):
    def __call__(self, step):
      results.append(super().__call__(step))
      return results[-1]

  trained = loop.train(config(tmp_path, steps=2, precision=precision), make_stepper=Stepper)
  row = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
  right, losses = score(trained, results[-1].images, results[-1].labels)
  assert (row["adversarial_accuracy"], row["loss"]) == pytest.approx((np.mean(right), np.mean(losses)))
  train = datasets.load().train
  indices = datasets.Batches(len(train), 8, 0).indices(1)
  right, _ = score(trained, datasets.as_float(train.images[indices]), train.labels[indices])
  assert row["natural_accuracy"] == pytest.approx(np.mean(right))


def test_it_is_judged_by_the_attack_of_the_paper(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(validation, "EXAMPLES", 20)
  trained = loop.train(config(tmp_path, steps=1, eval_every=1, epsilon=0.1))
  row = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
  result = accuracy.evaluate(trained, PGD(k=8, epsilon=0.1), datasets.load().validation.spread(20))
  assert (row["split"], row["loss"]) == ("validation", pytest.approx(result.adversarial_loss))
  assert "under PGD κ = 8 (n = 20)" in capsys.readouterr().out


def test_tensorboard_has_pictures_of_a_validation(tmp_path, monkeypatch):
  from tensorboard.backend.event_processing import event_accumulator
  monkeypatch.setattr(validation, "EXAMPLES", 20)
  settings = {"eval_every": 2, "initialization": "challenge", "epsilon": 0.01}
  loop.train(config(tmp_path, steps=2, **settings))
  events = event_accumulator.EventAccumulator(str(tmp_path)).Reload()
  (pictures,) = events.Tensors("validation: natural, perturbation, adversarial")
  width, height, *images = pictures.tensor_proto.string_val
  assert pictures.step == 2 and (width, height) == (b"84", b"28")
  assert all(image.startswith(b"\x89PNG") for image in images)
  (said,) = events.Tensors("validation: what the model says")
  lines = said.tensor_proto.string_val[0].decode().splitlines()
  assert len(lines) == 4 + len(images)
