"""Attacks in turn: what is attacked, what counts as broken, what survives a stop."""

import numpy as np
import pytest

from tests.helpers.evaluating import Breaks, Numbered, attempt, record
from tf_madry import datasets
from tf_madry.evaluation import accuracy
from tf_madry.evaluation.record import Record, Trial


def test_only_what_stands_is_attacked_and_nothing_twice():
  attacks = {"a": Breaks(*range(5)), "b": Breaks(3, 7), "c": Breaks(19)}
  known = record(attacks)
  attempt(known, "a", "b")
  assert attacks["a"].calls == [list(range(start, start + 4)) for start in range(0, 20, 4)]
  assert attacks["b"].asked == list(range(5, 20))
  attempt(known, "b", "c")  # another order of another choice: what b has not seen yet is tried, the rest is known
  assert attacks["b"].asked == [*range(5, 20), *range(5)]
  assert np.flatnonzero(known.broken("b")).tolist() == [3, 7]
  assert attacks["c"].asked == [number for number in range(20) if number not in (3, 7)]
  assert known.standing("a", "b", "c").sum() == 20 - len({0, 1, 2, 3, 4, 7, 19})


@pytest.mark.parametrize(("value", "counts"), [
    (0.3, True), (0.3 + 5e-7, True), (0.3 + 1e-5, False), (0.2, False), (float("nan"), False),
    (float("inf"), False)])
def test_an_adversarial_example_counts_only_if_it_is_one(value, counts):
  known = record({"a": Breaks(2, value=value)})
  attempt(known, "a")
  assert known.broken("a").sum() == counts
  assert (known.adversarial[2, 1, 1, 0] != 0) == counts
  images = np.empty(Numbered.images.shape, np.float32)
  result = accuracy.evaluate(Numbered(), Breaks(2, value=value), Numbered.split, adversarial=images)
  assert result.adversarial_accuracy == pytest.approx(1 - counts / 20)
  assert np.abs(images - datasets.as_float(Numbered.images)).max() <= 0.3 + 1e-6


def test_a_stopped_record_goes_on_after_its_last_batch(tmp_path):
  straight = record({"a": Breaks(1, 9, 17), "b": Breaks(3, 18)})
  attempt(straight, "a", "b")
  with pytest.raises(KeyboardInterrupt):
    attempt(record({"a": Breaks(1, 9, 17), "b": Breaks(3, 18, stop_at=12)}, tmp_path), "a", "b")
  attacks = {"a": Breaks(1, 9, 17), "b": Breaks(3, 18)}
  resumed = record(attacks, tmp_path)
  assert resumed.resumed
  attempt(resumed, "a", "b")
  assert attacks["a"].calls == []
  assert attacks["b"].asked[0] == 10  # 1 and 9 had fallen: the second batch of b begins there
  for name in ("a", "b"):
    np.testing.assert_array_equal(resumed.broken(name), straight.broken(name))
    np.testing.assert_array_equal(resumed.tried(name), straight.tried(name))
  np.testing.assert_array_equal(resumed.adversarial, straight.adversarial)


def test_a_source_is_attacked_and_the_model_judged():
  asked = []

  class Source(Numbered):
    pass

  def attack(model, images, labels, *, seed):
    asked.append(model)
    return Breaks(4)(model, images, labels, seed=seed)

  known = Record(Numbered(), Numbered.split, {"a": Trial(attack, source=Source())}, epsilon=0.3)
  attempt(known, "a")
  assert [type(model) for model in asked] == [Source]
  assert np.flatnonzero(known.broken("a")).tolist() == [4]
