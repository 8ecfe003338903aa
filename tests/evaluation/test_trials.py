"""What was tried on which example: what counts as broken, what is attacked again, what survives a stop."""

import os

import numpy as np
import pytest
import tensorflow as tf

from tf_madry import datasets
from tf_madry.evaluation import measure, trials

NUMBERS = np.arange(20)


class Numbered:
  """Images that carry their number, a model that reads it back from them, and an attack that moves some."""

  # The top left pixel is the number; the label is 1, which the model sees while the bottom right pixel is below 0.5.
  images = np.zeros((20, 2, 2, 1), np.uint8)
  images[:, 0, 0, 0] = NUMBERS * 10
  split = datasets.Split(images, np.ones(20, np.int32))
  variables = ()

  def __call__(self, images):
    fooled = tf.cast(images[:, 1, 1, 0] > 0.25, tf.float32)
    return tf.stack([fooled, 1 - fooled], -1)


class Breaks:
  """An attack that breaks the given examples, and remembers which it was asked for."""

  epsilon = 0.3

  def __init__(self, *numbers, value=0.3, stop_at=None):
    self.numbers, self.value, self.stop_at, self.calls = numbers, value, stop_at, []

  def __repr__(self):
    return f"Breaks{self.numbers}"

  @property
  def asked(self):
    return [number for call in self.calls for number in call]

  def __call__(self, model, images, labels, *, seed):
    found = images.numpy()
    asked = [round(float(pixel) * 25.5) for pixel in found[:, 0, 0, 0]]
    if self.stop_at in asked:
      raise KeyboardInterrupt
    self.calls.append(asked)
    for row, number in enumerate(asked):
      if number in self.numbers:
        found[row, 1, 1, 0] = self.value
    return tf.constant(found)


def record(attacks, folder=None, **settings):
  given = {name: trials.Trial(attack) for name, attack in attacks.items()}
  settings = {"epsilon": 0.3, "batch_size": 4, "folder": folder and str(folder)} | settings
  return trials.Trials(Numbered(), Numbered.split, given, **settings)


def test_only_what_stands_is_attacked_and_nothing_twice():
  attacks = {"a": Breaks(*range(5)), "b": Breaks(3, 7), "c": Breaks(19)}
  known = record(attacks)
  known.run("a", "b")
  assert attacks["a"].calls == [list(range(start, start + 4)) for start in range(0, 20, 4)]
  assert attacks["b"].asked == list(range(5, 20))
  known.run("b", "c")  # another order of another choice: what b has not seen yet is tried, the rest is known
  assert attacks["b"].asked == [*range(5, 20), *range(5)]
  assert np.flatnonzero(known.broken("b")).tolist() == [3, 7]
  assert attacks["c"].asked == [number for number in range(20) if number not in (3, 7)]
  assert known.standing("a", "b", "c").sum() == 20 - len({0, 1, 2, 3, 4, 7, 19})


@pytest.mark.parametrize(("value", "counts"), [
    (0.3, True), (0.3 + 5e-7, True), (0.3 + 1e-5, False), (0.2, False), (float("nan"), False), (float("inf"), False)])
def test_an_adversarial_example_counts_only_if_it_is_one(value, counts):
  known = record({"a": Breaks(2, value=value)})
  known.run("a")
  assert known.broken("a").sum() == counts
  assert (known.adversarial[2, 1, 1, 0] != 0) == counts
  images = np.empty(Numbered.images.shape, np.float32)
  result = measure.measure(Numbered(), Breaks(2, value=value), Numbered.split, adversarial=images)
  assert result.adversarial_accuracy == pytest.approx(1 - counts / 20)
  assert np.abs(images - datasets.as_float(Numbered.images)).max() <= 0.3 + 1e-6


@pytest.mark.parametrize(("pixel", "counts"), [(1.0, True), (1.0 + 1e-6, False)])
def test_an_adversarial_example_has_no_pixel_beyond_the_range(pixel, counts):
  natural = np.full((1, 2, 2, 1), 0.9, np.float32)
  found = np.full_like(natural, pixel)
  assert trials.is_adversarial(Numbered(), natural, found, np.ones(1, np.int32), 0.3)[0] == counts


def test_a_stopped_record_goes_on_after_its_last_batch(tmp_path):
  straight = record({"a": Breaks(1, 9, 17), "b": Breaks(3, 18)})
  straight.run("a", "b")
  with pytest.raises(KeyboardInterrupt):
    record({"a": Breaks(1, 9, 17), "b": Breaks(3, 18, stop_at=12)}, tmp_path).run("a", "b")
  attacks = {"a": Breaks(1, 9, 17), "b": Breaks(3, 18)}
  resumed = record(attacks, tmp_path)
  assert resumed.resumed
  resumed.run("a", "b")
  assert attacks["a"].calls == []
  assert attacks["b"].asked[0] == 10  # 1 and 9 had fallen: the second batch of b begins there
  for name in ("a", "b"):
    np.testing.assert_array_equal(resumed.broken(name), straight.broken(name))
    np.testing.assert_array_equal(resumed.tried(name), straight.tried(name))
  np.testing.assert_array_equal(resumed.adversarial, straight.adversarial)


class Heavier(Numbered):
  variables = (tf.Variable([1.0]),)


@pytest.mark.parametrize("change", [
    {"seed": 1}, {"epsilon": 0.31}, {"attack": Breaks(2)}, {"model": Heavier()},
    {"split": Numbered.split.head(19)}])
def test_a_record_belongs_to_its_settings(tmp_path, change):
  record({"a": Breaks(1)}, tmp_path).run("a")
  given = {"attack": Breaks(1), "model": Numbered(), "split": Numbered.split, "epsilon": 0.3, "seed": 0} | change
  other = trials.Trials(given["model"], given["split"], {"a": trials.Trial(given["attack"])}, epsilon=given["epsilon"],
                        seed=given["seed"], batch_size=4, folder=str(tmp_path))
  assert not other.resumed
  other.run("a")
  assert len(os.listdir(tmp_path)) == 2
  again = record({"a": Breaks(1)}, tmp_path)
  assert again.resumed and again.broken("a").sum() == 1


def truncate(path):
  os.truncate(path, os.path.getsize(path) // 2)


def empty(path):
  os.truncate(path, 0)


def flip_a_bit(path):
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)


def of_another(path):
  arrays = dict(np.load(path)) | {"identity": np.array("something else")}
  np.savez(path, **arrays)


def of_another_shape(path):
  arrays = dict(np.load(path)) | {"tried": np.ones((1, 19), bool)}
  np.savez(path, **arrays)


@pytest.mark.parametrize("damage", [truncate, empty, flip_a_bit, of_another, of_another_shape])
def test_a_damaged_record_is_reported_and_started_over(tmp_path, capsys, damage):
  record({"a": Breaks(1)}, tmp_path).run("a")
  damage(next(tmp_path.iterdir()))
  attack = Breaks(1)
  again = record({"a": attack}, tmp_path)
  assert "is damaged" in capsys.readouterr().err and not again.resumed
  again.run("a")
  assert len(attack.asked) == 20 and again.broken("a").sum() == 1
  assert record({"a": Breaks(1)}, tmp_path).resumed


def test_a_source_is_attacked_and_the_model_judged():
  asked = []

  class Source(Numbered):
    pass

  def attack(model, images, labels, *, seed):
    asked.append(model)
    return Breaks(4)(model, images, labels, seed=seed)

  known = trials.Trials(Numbered(), Numbered.split, {"a": trials.Trial(attack, source=Source())}, epsilon=0.3)
  known.run("a")
  assert [type(model) for model in asked] == [Source]
  assert np.flatnonzero(known.broken("a")).tolist() == [4]
