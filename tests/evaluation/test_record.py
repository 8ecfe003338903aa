"""The file of what was tried: what it belongs to, and what happens when it is damaged."""

import os

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.evaluating import Breaks, Numbered, attempt, record
from tf_madry.evaluation.record import Record, Trial


class Heavier(Numbered):
  variables = (tf.Variable([1.0]),)


@pytest.mark.parametrize("change", [
    {"seed": 1}, {"epsilon": 0.31}, {"attack": Breaks(2)}, {"model": Heavier()},
    {"split": Numbered.split.head(19)}])
def test_a_record_belongs_to_its_settings(tmp_path, change):
  attempt(record({"a": Breaks(1)}, tmp_path), "a")
  given = {"attack": Breaks(1), "model": Numbered(), "split": Numbered.split, "epsilon": 0.3,
           "seed": 0} | change
  other = Record(given["model"], given["split"], {"a": Trial(given["attack"])},
                 epsilon=given["epsilon"], seed=given["seed"], batch_size=4, folder=str(tmp_path))
  assert not other.resumed
  attempt(other, "a")
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
  attempt(record({"a": Breaks(1)}, tmp_path), "a")
  damage(next(tmp_path.iterdir()))
  attack = Breaks(1)
  again = record({"a": attack}, tmp_path)
  assert "is damaged" in capsys.readouterr().err and not again.resumed
  attempt(again, "a")
  assert len(attack.asked) == 20 and again.broken("a").sum() == 1
  assert record({"a": Breaks(1)}, tmp_path).resumed
