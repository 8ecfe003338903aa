"""Recipe `certified`: training on interval bounds."""

import dataclasses
import signal

import numpy as np
import pytest
import tensorflow as tf

import tf_madry
from tests.helpers.processes import run
from tests.helpers.training import arrays, rows, same
from tf_madry import config as configs
from tf_madry import datasets
from tf_madry.evaluation import bounds
from tf_madry.training import loop, validation
from tf_madry.training.bounds import BoundsStep, notices
from tf_madry.training.learner import Learner
from tf_madry.training.synchronous import Synchronous

SMALL = {"batch_size": 16, "eval_every": 0, "log_every": 2}


def config(model_dir, **settings):
  return configs.resolve({**SMALL, "model_dir": str(model_dir), **settings}, "certified")[0]


def test_a_step_moves_all_weights_but_the_thresholds(tmp_path):
  learner = Learner(config(tmp_path, steps=100, precision="float32"), datasets.load())
  before = learner.trained.get_weights()
  result = BoundsStep(learner).run(tf.range(16), tf.constant(50))
  moved = [bool((weight.numpy() != old).any())
           for weight, old in zip(learner.trained.weights, before, strict=True)]
  assert moved == 2 * [False] + 6 * [True]
  np.testing.assert_array_equal(result.images, learner.batch(tf.range(16))[0])


def test_images_that_are_not_black_and_white_are_said_to_prove_little(tmp_path):
  mnist = datasets.load()
  assert list(notices(config(tmp_path), mnist)) == []
  pixels = np.random.default_rng(0).integers(0, 256, (100, 8, 8, 3), np.uint8)
  grey = dataclasses.replace(mnist, name="noise",
                             train=datasets.Split(pixels, np.zeros(100, np.int32)))
  (said,) = notices(config(tmp_path), grey)
  assert "within ε = 0.3, 59% of what the first layer sees of noise is open to an attack" in said
  assert list(notices(config(tmp_path, epsilon=0.05), grey)) == []


class Stopping(Synchronous):
  """Asks for a stop at the third step."""

  def __call__(self, step):
    if step == 2:
      signal.raise_signal(signal.SIGTERM)
    return super().__call__(step)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_stopped_and_resumed_run_ends_with_the_same_weights(tmp_path, precision):
  settings = {"steps": 5, "precision": precision}
  loop.train(config(tmp_path / "straight", **settings))
  with pytest.raises(loop.Stopped):
    loop.train(config(tmp_path / "stopped", **settings), make_stepper=Stopping)
  assert arrays(tmp_path / "stopped")["step"] == 3
  loop.train(config(tmp_path / "stopped", **settings))
  assert same(arrays(tmp_path / "stopped"), arrays(tmp_path / "straight"))


def test_a_short_run_proves_something(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(validation, "EXAMPLES", 300)
  settings = {"epsilon": 0.1, "steps": 150, "batch_size": 32, "eval_every": 150, "log_every": 50}
  loop.train(config(tmp_path, **settings))
  examples = datasets.load().validation.spread(300)
  result = bounds.certify(tf_madry.load_model(str(tmp_path)), examples, 0.1)
  assert result.certified_accuracy > 0.5  # 0.75 when this was written; chance is 0.1
  logged = rows(tmp_path)
  assert [row["split"] for row in logged] == ["train", "train", "train", "validation"]
  assert all(0 <= row["certified_accuracy"] <= 1 for row in logged)
  assert logged[-1]["certified_accuracy"] == result.certified_accuracy
  assert result.certified_accuracy <= logged[-1]["adversarial_accuracy"]
  assert f"certified {result.certified_accuracy:.1%} (n = 300)" in capsys.readouterr().out


@pytest.mark.parametrize(("given", "said"), [
    ("--epsilon=0.5", "epsilon is 0.5, accepted: below 0.5 in a recipe that trains on interval"),
    ("--staleness=4", "staleness is 4, accepted: 0 in a recipe that trains on interval bounds")])
def test_bad_input_is_one_line(tmp_path, given, said):
  code, output = run("train.py", "--recipe=certified", "--model_dir=run", given, cwd=tmp_path)
  assert (code, output.count("\n")) == (2, 1)
  assert said in output
  assert not (tmp_path / "run").exists()


def test_nothing_is_left_to_workers(tmp_path):
  code, output = run("async_train.py", "--recipe=certified", "--workers=1", cwd=tmp_path)
  assert (code, output) == (2, "error: workers is 1, accepted: 0 in a recipe that trains on "
                               "interval bounds: nothing is crafted\n")
