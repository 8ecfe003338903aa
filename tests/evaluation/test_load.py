"""Which examples are evaluated."""

import pytest

from tf_madry import datasets
from tf_madry.errors import UserError
from tf_madry.evaluation.load import Choice


@pytest.mark.parametrize(("how", "text"), [
    ({}, "4 test examples, spread over the split"),
    ({"examples": "first"}, "4 test examples, the first ones")])
def test_some_examples(how, text):
  test = datasets.load().test
  choice = Choice(num_examples=4, **how)
  found = choice.of("mnist")
  numbers = range(4) if how else range(0, 10_000, 2_500)
  assert found.labels.tolist() == [test.labels[number] for number in numbers]
  assert choice.text(len(found)) == text


def test_all_examples_need_no_word():
  choice = Choice(split="validation")
  assert len(choice.of("mnist")) == 5_000
  assert choice.text(5_000) == "5,000 validation examples"


def test_more_than_there_are():
  with pytest.raises(UserError, match="number of examples is 10001, accepted: 1 to 10000"):
    Choice(num_examples=10_001).of("mnist")
