"""What studies keep and find again: networks, measurements, results."""

import json
import os
import signal

import numpy as np
import pytest

from tf_madry import checkpoints
from tf_madry import config as configs
from tf_madry.errors import UserError
from tf_madry.evaluation import accuracy
from tf_madry.studies import cycles, power, transfer
from tf_madry.studies.lab import cache, machines, networks, recording
from tf_madry.studies.output import outcomes
from tf_madry.training import loop
from tf_madry.training import staleness as simulated

STEPS = 3
TINY = {"scale": STEPS / networks.STEPS, "k_list": (1, 2), "precision": "float32"}
SETTINGS = {"scale": 0.01, "seed": 0, "precision": "float32"}


@pytest.fixture
def tiny(monkeypatch):
  """A function from an output folder to a `Lab` of a few steps and examples."""
  monkeypatch.setattr(recording, "FRAME_EVERY", 1)
  monkeypatch.setattr(power, "STRONGEST", 2)
  monkeypatch.setitem(networks.QUICK, "batch_size", 8)

  def make(out, **given):
    small = networks.Lab(str(out), networks.options(**TINY | given))
    small.curve_n, small.final_n = 6, lambda k: 6
    small.points = lambda steps: [steps]
    return small
  return make


def forbidden(*_, **__):
  raise AssertionError("it was done already")


def newest(network):
  return checkpoints.read_newest(network.config.run.model_dir).arrays


def test_networks_and_measurements_are_made_once(tmp_path, tiny, monkeypatch):
  first = tiny(tmp_path)
  data = power.measure(first)
  assert len(data["curves"]) == 2 * 2 * 2  # networks, splits, attackers
  assert len(data["final"]) == 2 * 2
  monkeypatch.setattr(loop, "train", forbidden)
  cells = transfer.measure(tiny(tmp_path))["cells"]  # of the same networks
  assert len(cells) == 4
  by = {(row["k"], row["attacker"]): row for row in data["final"]}
  assert [cell["adversarial_accuracy"] for cell in cells if cell["source"] == cell["target"]] == [
    by[k, k]["adversarial_accuracy"] for k in (1, 2)]
  monkeypatch.setattr(accuracy, "evaluate", forbidden)
  again = tiny(tmp_path)
  assert power.measure(again) == data
  assert again.seconds == pytest.approx(first.seconds)


def test_a_stopped_network_goes_on_and_recording_does_not_change_it(tmp_path, tiny, monkeypatch):
  straight = tiny(tmp_path / "straight").network(k=1, staleness=1)
  recorded = recording.Recorder.__call__

  def interrupted(self, step):
    if step == 1:
      os.kill(os.getpid(), signal.SIGINT)
      while not pending():
        pass
    return recorded(self, step)

  def pending():
    # The signal's thread takes it from a pipe; the step must not end before.
    return stop[0].signum

  stop, requests = [], loop.stop_requests

  class Requests:
    def __enter__(self):
      self.inner = requests()
      stop.append(self.inner.__enter__())
      return stop[0]

    def __exit__(self, *error):
      return self.inner.__exit__(*error)

  with monkeypatch.context() as patch:
    patch.setattr(recording.Recorder, "__call__", interrupted)
    patch.setattr(loop, "stop_requests", Requests)
    with pytest.raises(loop.Stopped):
      tiny(tmp_path / "stopped").network(k=1, staleness=1)
  stopped = tiny(tmp_path / "stopped").network(k=1, staleness=1)
  ours, theirs = newest(stopped), newest(straight)
  assert ours["frames"].shape == (STEPS, recording.EXAMPLES, 28, 28, 1)
  assert all(np.array_equal(ours[name], theirs[name]) for name in theirs if name != "elapsed")
  config = straight.config
  plain = networks.config.resolve(config.values() | {"model_dir": str(tmp_path / "plain")})[0]
  loop.train(plain, make_stepper=simulated.stepper)
  alone = checkpoints.read_newest(str(tmp_path / "plain")).arrays
  assert all(np.array_equal(alone[name], theirs[name]) for name in alone if name != "elapsed")


def test_a_setting_that_is_new_leaves_the_names_of_networks_as_they_are(tmp_path, tiny, monkeypatch):
  known = configs.Config.experiment
  with monkeypatch.context() as patch:
    patch.setattr(configs.Config, "experiment", lambda self: {
      name: value for name, value in known(self).items() if name != "lead"})
    folder = tiny(tmp_path).network(k=1).config.run.model_dir
  path = os.path.join(folder, "config.json")
  values = cache.read(path)
  del values["lead"]
  cache.write(path, values)
  monkeypatch.setattr(loop, "train", forbidden)
  assert tiny(tmp_path).network(k=1).config.run.model_dir == folder


def test_a_network_of_other_settings_is_refused(tmp_path, tiny):
  network = tiny(tmp_path).network(k=1)
  model_dir = network.config.run.model_dir
  path = os.path.join(model_dir, "config.json")
  values = cache.read(path)
  cache.write(path, values | {"k": 5})
  with pytest.raises(UserError, match="holds a network with k 5, not 1 as its name says; remove it"):
    tiny(tmp_path).network(k=1)


def test_measurements_are_kept_by_all_that_decides_them(tmp_path):
  calls = []

  def compute():
    calls.append(1)
    return len(calls)

  out = str(tmp_path)
  here = machines.here()
  assert [cache.remember(out, {"a": 1}, compute), cache.remember(out, {"a": 1}, compute),
          cache.remember(out, {"a": 2}, compute)] == [(1, here), (1, here), (2, here)]
  path = tmp_path / "cache" / f"{cache.digest({'a': 1})}.json"
  path.write_text(json.dumps({"key": {"a": 3}, "value": 7}))
  with pytest.raises(UserError, match="is a measurement with other settings than its name says"):
    cache.remember(out, {"a": 1}, compute)
  for damaged in ("{", '{"key": {"a": 1}}'):
    path.write_text(damaged)
    with pytest.raises(UserError, match="is damaged"):
      cache.remember(out, {"a": 1}, compute)
  path.write_text('{"key": {"a": 1}, "value": 5}')  # from before machines were recorded
  assert cache.remember(out, {"a": 1}, compute) == (5, None)


def test_the_machines_of_measurements_are_said_once_each():
  one, other = {"on": "2 cores", "TensorFlow": "2.21"}, {"on": "a GPU", "TensorFlow": "2.21"}
  both = machines.joined([one, other])
  assert both == {"on": "2 cores and a GPU", "TensorFlow": "2.21"}
  assert machines.joined([both, other]) == both


def test_a_network_tells_where_it_was_trained_and_what_validated_it(tmp_path, tiny):
  made = tiny(tmp_path)
  network = made.network(k=1)
  assert made.machines == [machines.here()]
  assert network.made["validation"]["k"] == 1
  os.remove(os.path.join(network.config.run.model_dir, networks.MADE))  # from before this was recorded
  again = tiny(tmp_path)
  assert again.network(k=1).made["validation"]["k"] == 1 and again.machines == [None]


def test_a_validation_that_was_not_reached_is_made_the_next_time(tmp_path, tiny, monkeypatch):
  values = {"steps": 2, "batch_size": 8, "k": 1}
  with monkeypatch.context() as patch:
    patch.setattr(loop, "_validate", lambda *arguments: None)
    tiny(tmp_path).trained(values, {"eval_every": 2})
  validation = tiny(tmp_path).trained(values, {"eval_every": 2}).validation
  assert [row["step"] for row in validation] == [2]
  monkeypatch.setattr(loop, "train", forbidden)
  tiny(tmp_path).trained(values, {"eval_every": 2})


@pytest.mark.parametrize("damage", [lambda text: "", lambda text: text[:-20], lambda text: text[:text.rindex("{")], None])
def test_a_log_that_is_not_whole_is_one_line(tmp_path, tiny, damage):
  network = tiny(tmp_path).network(k=1)
  path = os.path.join(network.config.run.model_dir, "metrics.jsonl")
  if damage:
    with open(path, encoding="utf-8") as file:
      text = file.read()
    with open(path, "w", encoding="utf-8") as file:
      file.write(damage(text))
  else:
    os.remove(path)
  with pytest.raises(UserError, match=f"{path}' (is damaged: it does not tell of all 3 steps|cannot be read)"):
    tiny(tmp_path).network(k=1)


def test_a_network_that_takes_notes_is_none_that_does_not(tmp_path, monkeypatch):
  folders = []

  def train(config, **_):
    folders.append(config.run.model_dir)
    raise loop.Stopped(signal.SIGINT)

  monkeypatch.setattr(loop, "train", train)
  for scale in (1.0, 0.5):
    made = networks.Lab(str(tmp_path), networks.options(scale=scale, precision="float32"))
    with pytest.raises(loop.Stopped):
      made.network(k=8)
    with pytest.raises(loop.Stopped):
      made.trained({"steps": made.steps}, {"eval_every": 1})
  assert len(set(folders)) == 4


def test_a_failed_measurement_leaves_nothing(tmp_path):
  with pytest.raises(ZeroDivisionError):
    cache.remember(str(tmp_path), {"a": 1}, lambda: 1 / 0)
  assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_one_line():
  with pytest.raises(UserError, match="out '/dev/null/studies' cannot be written: Not a directory"):
    cache.prepare("/dev/null/studies")


def test_a_study_of_other_settings_is_not_overwritten(tmp_path):
  outcomes.save(str(tmp_path), "transfer", outcomes.Study(SETTINGS | {"k_list": [1, 4]}, {}, 1.0, {}))
  outcomes.check(str(tmp_path), "transfer", SETTINGS | {"k_list": [1, 4]})
  outcomes.check(str(tmp_path), "power", SETTINGS)
  with pytest.raises(UserError, match=r"holds transfer with k_list \[1, 4\], not \[1, 8\]"):
    outcomes.check(str(tmp_path), "transfer", SETTINGS | {"k_list": [1, 8]})


@pytest.mark.parametrize(("given", "said"), [
    ({"scale": 0.0}, "scale is 0.0"), ({"scale": 2.0}, "scale is 2.0"), ({"k_list": (0, 1)}, "k_list is"),
    ({"s_list": (4, 4)}, "s_list is"), ({"rates": (2e-3, 0.0)}, "rates is"), ({"rates": (float("nan"),)}, "rates is"),
    ({"long": 0.5}, "long is 0.5"), ({"long": float("inf")}, "long is inf"), ({"t_adv": 1.0}, "t_train is None"),
    ({"slice": 0}, "slice is 0"), ({"headline_n": 10_001}, "headline_n is 10001"),
])
def test_bad_options_are_one_line(given, said):
  with pytest.raises(UserError, match=said):
    networks.options(**given)


def test_too_few_steps_for_cycles_are_refused_before_training(tmp_path, tiny, monkeypatch):
  monkeypatch.setattr(loop, "train", forbidden)
  with pytest.raises(UserError, match=f"scale is {TINY['scale']}, accepted: more: there are 2 frames"):
    cycles.measure(tiny(tmp_path))


def test_the_papers_size_is_the_papers():
  full = networks.options(scale=1.0)
  assert full.k_list == (1, 4, 8, 128) and full.precision == "float32" and full.long == 5
  assert full.s_list == (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
  assert networks.Lab("", full).steps == 60_000
