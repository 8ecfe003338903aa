"""The simulated queue of §5: how old batches get, and that stops do not change what it trains."""

import json
import signal

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.processes import run, start, until
from tests.helpers.training import arrays, same
from tf_madry import checkpoints, datasets
from tf_madry import config as configs
from tf_madry.attacks import linf
from tf_madry.attacks.losses import score
from tf_madry.training import loop, staleness
from tf_madry.training.learner import Learner
from tf_madry.training.step import AdversarialStep

SMALL = {"k": 2, "batch_size": 8, "eval_every": 0, "log_every": 2}


def config(model_dir, **settings):
  return configs.resolve({**SMALL, "model_dir": str(model_dir), **settings})[0]


def train(model_dir, **settings):
  """The newest checkpoint's arrays after training."""
  loop.train(config(model_dir, **settings), make_stepper=staleness.stepper)
  return arrays(model_dir)


class Diary:
  """A step that writes down what happens: `crafted`, numbers of batches; `learnt`, the images
  trained on.
  """

  def __init__(self, learner):
    self._learner, self._step, self.crafted, self.learnt = learner, AdversarialStep(learner), [], []

  def craft(self, indices, step):
    self.crafted.append(int(step))
    images, labels = self._step.craft(indices, step)
    self.images = images.numpy()
    return images, labels

  def learn(self, images, *rest):
    self.learnt.append(images.numpy())
    return self._step.learn(images, *rest)


@pytest.mark.parametrize("shift", [0, 2])
def test_every_batch_is_trained_on_exactly_so_many_steps_after_it_was_crafted(tmp_path, shift):
  size, dataset = 3, datasets.load()
  learner = Learner(config(tmp_path, staleness=size, margin=1.1, shift=shift), dataset)
  diary = Diary(learner)
  batches = datasets.Batches(len(dataset.train), 8, 0)
  stepper, made, time_step = staleness.Stale(learner, diary, batches), {}, -size
  for step in range(5):
    result = None
    while result is None:
      result = stepper(step)
      number = diary.crafted[-1]
      assert number == time_step + size
      made[number] = time_step, diary.images
      time_step += 1
    crafted_at, images = made[step]
    assert time_step - 1 - crafted_at == size
    natural, _ = learner.moved(tf.constant(batches.indices(step)), tf.constant(step))
    # Half a level of the byte it was kept in.
    assert np.abs(diary.learnt[-1] - images).max() <= 0.33 / 254 + 1e-6
    assert np.abs(diary.learnt[-1] - natural).max() <= 0.33 + 1e-6
    assert diary.learnt[-1].min() >= 0 and diary.learnt[-1].max() <= 1
  assert len(diary.crafted) == 5 + size


class Judge(Diary):
  """Also writes down accuracies before each update, in float32: `fresh`, of every batch crafted,
  and `stale`.
  """

  def __init__(self, learner):
    super().__init__(learner)
    self.fresh, self.stale = [], []

  def craft(self, indices, step):
    images, labels = super().craft(indices, step)
    self.fresh.append(self._accuracy(images, labels))
    return images, labels

  def learn(self, images, labels, step):
    self.stale.append(self._accuracy(images, labels))
    return super().learn(images, labels, step)

  def _accuracy(self, images, labels):
    return np.mean(score(self._learner.trained, images, labels)[0])


def test_accuracies_are_of_the_weights_in_float32_and_of_all_steps_of_a_line(tmp_path):
  dataset = datasets.load()
  learner = Learner(config(tmp_path, staleness=1, batch_size=64, precision="bfloat16"), dataset)
  judge = Judge(learner)
  stepper = staleness.Stale(learner, judge, datasets.Batches(len(dataset.train), 64, 0))
  for step in range(4):
    while stepper(step) is None:
      pass
    # Of those that a line speaks of; a summary in between takes nothing from it.
    first = step - step % 2
    assert stepper.report() == pytest.approx({"fresh_accuracy": np.mean(judge.fresh[first + 1:]),
                                             "stale_accuracy": np.mean(judge.stale[first:])})
    if step % 2:
      stepper.begin_line()


def test_no_staleness_is_plain_training_bit_for_bit(tmp_path):
  loop.train(config(tmp_path / "plain", steps=2))
  plain = arrays(tmp_path / "plain")
  assert same(train(tmp_path / "none", steps=2, staleness=0), plain)


def test_a_resumed_run_ends_as_one_that_was_never_stopped(tmp_path):
  straight = train(tmp_path / "straight", steps=7, staleness=2)
  assert straight["staleness/queue"].shape == (2, 8, 28, 28, 1)
  assert straight["staleness/queue"].dtype == np.int8
  assert np.abs(straight["staleness/queue"]).max() == linf.LEVELS
  train(tmp_path / "stopped", steps=3, staleness=2)
  assert same(train(tmp_path / "stopped", steps=7, staleness=2), straight)
  rows = [json.loads(line) for line in (tmp_path / "stopped"
                                        / "metrics.jsonl").read_text().splitlines()]
  assert [row["step"] for row in rows] == [2, 3, 4, 6, 7]
  assert all(0 <= row["fresh_accuracy"] <= 1 and 0 <= row["stale_accuracy"] <= 1 for row in rows)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_weights_that_craft_are_renewed_every_so_many_steps(tmp_path, precision):
  every, dataset = 3, datasets.load()
  learner = Learner(config(tmp_path, staleness_reload=every, precision=precision), dataset)
  batches, judge = datasets.Batches(len(dataset.train), 8, 0), Judge(learner)
  stepper, weights = staleness.Reloading(learner, judge, batches), []
  plain = Learner(learner.config, dataset)
  craft = AdversarialStep(plain).craft
  for step in range(2 * every):
    weights.append(learner.trained.get_weights())
    stepper(step)
    plain.trained.set_weights(weights[step - step % every])
    expected = craft(batches.indices(step), np.int32(step))[0]
    assert np.array_equal(judge.learnt[-1], expected)
  report = stepper.report()
  assert report["staleness_mean"] == 1 and report["staleness_max"] == 2
  assert report["stale_accuracy"] == pytest.approx(np.mean(judge.stale))
  assert report["fresh_accuracy"] == judge.fresh[0]


def test_weights_renewed_at_every_step_are_plain_training_bit_for_bit(tmp_path):
  loop.train(config(tmp_path / "plain", steps=4))
  plain = arrays(tmp_path / "plain")
  reloaded = train(tmp_path / "reloaded", steps=4, staleness_reload=1)
  assert all(np.array_equal(plain[name], reloaded[name]) for name in plain)


def test_a_run_that_reloads_and_is_resumed_ends_as_one_that_was_never_stopped(tmp_path):
  straight = train(tmp_path / "straight", steps=7, staleness_reload=5)
  train(tmp_path / "stopped", steps=3, staleness_reload=5)
  assert same(train(tmp_path / "stopped", steps=7, staleness_reload=5), straight)
  assert not same(train(tmp_path / "plain", steps=7), straight)


def test_a_queue_and_a_reload_are_not_simulated_at_once(tmp_path):
  code, output = run("train.py", "--staleness=4", "--staleness_reload=4", cwd=tmp_path)
  assert code == 2 and output.startswith("error: staleness_reload is 4, accepted: 0 with a "
                                         "staleness of its own")


def test_a_stop_while_the_queue_is_filled_loses_nothing(tmp_path):
  path = tmp_path / "settings.json"
  path.write_text(json.dumps(SMALL))
  process = start("train.py", f"--config={path}", f"--model_dir={tmp_path / 'run'}",
                  "--staleness=100000",
                  "--steps=3", cwd=tmp_path)
  until(lambda: (tmp_path / "run" / "config.json").exists())
  process.send_signal(signal.SIGINT)
  output, _ = process.communicate(timeout=60)
  assert process.returncode == 130, output
  checkpoint = checkpoints.read_newest(str(tmp_path / "run"))
  assert checkpoint.step == 0

  dataset = datasets.load()
  learner = Learner(config(tmp_path / "run", staleness=100_000), dataset)
  diary = Diary(learner)
  stepper = staleness.Stale(learner, diary, datasets.Batches(len(dataset.train), 8, 0))
  stepper.restore(checkpoint)
  stepper(0)
  assert diary.crafted == [len(checkpoint.arrays["staleness/queue"])]


def test_without_a_ball_nothing_is_perturbed(tmp_path):
  assert not train(tmp_path, steps=2, staleness=1, epsilon=0.0)["staleness/queue"].any()


def test_minutes_are_not_for_a_queue_that_has_to_be_filled(tmp_path):
  code, output = run("train.py", "--staleness=4", "--minutes=1", cwd=tmp_path)
  assert (code, output) == (2, "error: minutes is 1.0, accepted: nothing when there is a "
                               "staleness\n")


def test_asynchronous_training_has_a_staleness_of_its_own(tmp_path):
  code, output = run("async_train.py", "--staleness=4", cwd=tmp_path)
  assert (code, output) == (2, "error: staleness is 4, accepted: 0 in async_train.py, which "
                               "measures it; "
                               "train.py simulates it\n")
