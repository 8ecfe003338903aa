"""The suite: what it leaves standing, what it says, and that a stop changes neither."""

import shutil
import signal

import numpy as np
import pytest

from tests.helpers.evaluating import attempt, toy, train
from tests.helpers.processes import start, until
from tf_madry import datasets
from tf_madry.attacks.suite import Suite
from tf_madry.errors import UserError
from tf_madry.evaluation import suite
from tf_madry.evaluation.record import Record, Trial
from tf_madry.models import loading
from tf_madry.runtime import files

QUICK = Suite(epsilon=0.02, k=20, queries=100)


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
  """(`LoadedModel`, `Split`, `Result` of the suite, adversarial images, folder) of a toy
  network."""
  loaded, split = toy()
  folder = str(tmp_path_factory.mktemp("suite"))
  said = []
  result, adversarial = suite.run(loaded, QUICK, split, batch_size=16, folder=folder,
                                  say=said.append)
  return loaded, split, result, adversarial, said


def test_the_suite_leaves_no_more_than_any_member(honest):
  loaded, split, result, adversarial, said = honest
  stands = loaded.model(adversarial).numpy().argmax(-1) == split.labels
  assert stands.mean() == pytest.approx(result.adversarial_accuracy)
  assert 0 < result.adversarial_accuracy < result.natural_accuracy == 0.9
  natural = datasets.as_float(split.images)
  assert np.abs(adversarial - natural).max() <= QUICK.epsilon + 1e-6
  assert [member["name"] for member in result.members] == ["APGD-CE", "APGD-T", "multi-targeted",
                                                           "Square"]
  for name, attack in QUICK.members().items():
    alone = Record(loaded.model, split, {name: Trial(attack)}, epsilon=QUICK.epsilon, batch_size=16)
    attempt(alone, name)
    assert not (stands & ~alone.standing(name)).any(), name
  alike = suite.evaluate(loaded, QUICK, split, batch_size=16)
  assert alike.adversarial_accuracy == result.adversarial_accuracy
  assert alike.adversarial_loss > alike.natural_loss
  assert "APGD-T" in said[4] and said[4].split()[1] == str(result.members[1]["tried"])


def test_an_honest_model_gets_no_warning(honest):
  assert honest[2].warnings == []


@pytest.mark.parametrize("classes", [2, 3])
def test_a_model_of_few_classes_goes_without_apgd_t(tmp_path, classes):
  (loaded, split), said, folder = toy(n=20, classes=classes), [], str(tmp_path)
  result, _ = suite.run(loaded, Suite(epsilon=0.02, k=3, queries=10), split, folder=folder,
                        say=said.append)
  assert [member["name"] for member in result.members] == ["APGD-CE", "multi-targeted", "Square"]
  assert result.adversarial_accuracy < result.natural_accuracy
  left_out = f"left out: APGD-T, whose loss takes more classes than the model's {classes}; multi-targeted PGD tries them all"
  assert said.count(left_out) == 1


def test_one_run_at_a_time(tmp_path, honest):
  loaded, split = honest[:2]
  with files.exclusive(str(tmp_path)), pytest.raises(UserError, match="in use by another run"):
    suite.run(loaded, QUICK, split, folder=str(tmp_path))


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
  """(model directory, what to run on it, `Result`, adversarial images) of a suite that was never
  stopped."""
  folder = tmp_path_factory.mktemp("straight")
  model_dir = train(folder / "model")
  what = loading.load_model(model_dir), Suite(epsilon=0.05, k=3,
                                              queries=100), datasets.load().test.spread(40)
  return model_dir, what, *suite.run(*what, batch_size=5, folder=str(folder / "suite"))


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_suite_that_was_stopped_ends_as_one_that_was_not(tmp_path, straight, signum, code):
  model_dir, what, result, adversarial = straight
  shutil.copytree(model_dir, tmp_path / "model")
  process = start("eval.py", "--model_dir=model", "--attack=suite", "--k=3", "--queries=100",
                  "--epsilon=0.05", "--num_examples=40", "--batch_size=5", cwd=tmp_path)
  until(lambda: process.poll() is not None or list(tmp_path.glob("model/suite/*.npz")))
  process.send_signal(signum)
  output, _ = process.communicate(timeout=60)
  assert process.returncode == code, output
  assert "Traceback" not in output
  if signum == signal.SIGINT:
    assert output.splitlines()[-1] == "stopped; the same command goes on from here"
  said = []
  resumed, images = suite.run(*what, batch_size=5, folder=str(tmp_path / "model" / "suite"),
                              say=said.append)
  assert said[0].startswith("going on from an earlier run")
  assert resumed.adversarial_accuracy == result.adversarial_accuracy < result.natural_accuracy
  np.testing.assert_array_equal(images, adversarial)
