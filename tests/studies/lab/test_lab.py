"""What the lab trains and measures, and finds again."""

import os
import signal

import numpy as np
import pytest

from tests.helpers.studies import STEPS, tiny
from tf_madry import checkpoints
from tf_madry import config as configs
from tf_madry.studies.lab import cache, options, packing, recorder
from tf_madry.studies.lab.lab import Lab
from tf_madry.training import loop, staleness


def forbidden(*_, **__):
  raise AssertionError("it was done already")


def newest(network):
  return checkpoints.read_newest(network.folder).arrays


class Interrupting(recorder.Recorder):
  """Asks for a stop before the second step is done."""

  def __call__(self, step):
    if step == 1:
      signal.raise_signal(signal.SIGINT)
    return super().__call__(step)


def test_a_stopped_network_goes_on_and_recording_does_not_change_it(tmp_path, monkeypatch):
  straight = tiny(tmp_path / "straight").network(k=1, s=1)
  with monkeypatch.context() as patch:
    patch.setattr(recorder, "Recorder", Interrupting)
    with pytest.raises(loop.Stopped):
      tiny(tmp_path / "stopped").network(k=1, s=1)
  stopped = tiny(tmp_path / "stopped").network(k=1, s=1)
  ours, theirs = newest(stopped), newest(straight)
  assert ours["frames"].shape == (STEPS, recorder.EXAMPLES, 28, 28, 1)
  assert all(np.array_equal(ours[name], theirs[name]) for name in theirs if name != "elapsed")
  plain = configs.resolve(straight.config.values() | {"model_dir": str(tmp_path / "plain")})[0]
  loop.train(plain, make_stepper=staleness.stepper)
  alone = checkpoints.read_newest(str(tmp_path / "plain")).arrays
  assert all(np.array_equal(alone[name], theirs[name]) for name in alone if name != "elapsed")


@pytest.mark.parametrize(("given", "name"), [
    ({"k": 8}, "9a3b8bf400d177d7"), ({"k": 1}, "16dade868653317d"), ({"s": 64}, "31ec594fbc3a70a5"),
    ({"reload": 100}, "a64076d1d55b7b78"), ({"s": 64, "times": 3.0}, "12f261ef04a7f3c7")])
def test_networks_that_were_trained_are_found_by_the_names_that_they_have(tmp_path, monkeypatch,
                                                                          given, name):
  folders = []

  def train(config, **_):
    folders.append(os.path.basename(config.run.model_dir))
    raise loop.Stopped(signal.SIGINT)

  monkeypatch.setattr(loop, "train", train)
  with pytest.raises(loop.Stopped):
    Lab(str(tmp_path), options.fill(precision="bfloat16")).network(**given)
  assert folders == [name]


def test_a_setting_that_is_new_leaves_the_names_of_networks_as_they_are(tmp_path, monkeypatch):
  known = configs.Config.experiment
  with monkeypatch.context() as patch:
    patch.setattr(configs.Config, "experiment", lambda self: {
      name: value for name, value in known(self).items() if name != "lead"})
    folder = tiny(tmp_path).network(k=1).folder
  path = os.path.join(folder, "config.json")
  values = cache.read(path)
  del values["lead"]
  cache.write(path, values)
  monkeypatch.setattr(loop, "train", forbidden)
  assert tiny(tmp_path).network(k=1).folder == folder


def test_a_validation_that_was_not_reached_is_made_the_next_time(tmp_path, monkeypatch):
  lab, values = tiny(tmp_path), {"steps": 2, "batch_size": 8, "k": 1}
  network = lab.trained(values, {"eval_every": 2})
  path = os.path.join(network.folder, "metrics.jsonl")
  with open(path, encoding="utf-8") as file:
    lines = [line for line in file if '"validation"' not in line]
  with open(path, "w", encoding="utf-8") as file:
    file.writelines(lines)
  assert [row["step"] for row in lab.trained(values, {"eval_every": 2}).validation] == [2]
  monkeypatch.setattr(loop, "train", forbidden)
  lab.trained(values, {"eval_every": 2})


def test_a_network_that_takes_notes_is_none_that_does_not(tmp_path, monkeypatch):
  folders = []

  def train(config, **_):
    folders.append(config.run.model_dir)
    raise loop.Stopped(signal.SIGINT)

  monkeypatch.setattr(loop, "train", train)
  for scale in (1.0, 0.5):
    lab = Lab(str(tmp_path), options.fill(scale=scale, precision="float32"))
    with pytest.raises(loop.Stopped):
      lab.network(k=8)
    with pytest.raises(loop.Stopped):
      lab.trained({"steps": lab.options.steps}, {"eval_every": 1})
  assert len(set(folders)) == 4


def test_an_accuracy_keeps_the_outcome_of_each_image(tmp_path):
  lab = tiny(tmp_path)
  result = lab.accuracy(lab.network(k=1), 2)
  right = packing.unpack_bits(result["right"], result["n"])
  assert result["n"] == 6 and right.mean() == pytest.approx(result["adversarial_accuracy"])
