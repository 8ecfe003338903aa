"""What a network's folder tells."""

import os

import pytest

from tests.helpers.studies import tiny
from tf_madry.errors import UserError
from tf_madry.studies.lab import cache
from tf_madry.studies.lab.network import MADE


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp("trained")


def test_it_tells_where_it_was_trained_and_what_validated_it(folder):
  lab = tiny(folder)
  network = lab.network(k=1)
  assert lab.machines == [network.made["machine"]] and network.made["validation"]["k"] == 1
  made = os.path.join(network.folder, MADE)
  os.rename(made, f"{made}.away")  # from before this was recorded
  again = tiny(folder)
  assert again.network(k=1).made["validation"]["k"] == 1 and again.machines == [None]
  os.rename(f"{made}.away", made)


def test_its_curve_has_fresh_and_stale_accuracy_and_the_learning_rate(folder):
  plain = tiny(folder).network(k=1).curve()
  assert [row["step"] for row in plain] == [1, 2, 3]
  assert all(row["fresh_accuracy"] == row["stale_accuracy"] for row in plain)
  assert [row["learning_rate"]
          for row in plain] == pytest.approx([1e-3 * share / 0.9 for share in (2 / 3, 1 / 3, 0)],
                                             abs=1e-9)


@pytest.mark.parametrize("damage",
                         [lambda text: "", lambda text: text[:-20],
                          lambda text: text[:text.rindex("{")], None])
def test_a_log_that_is_not_whole_is_one_line(folder, damage):
  path = os.path.join(tiny(folder).network(k=1).folder, "metrics.jsonl")
  with open(path, encoding="utf-8") as file:
    text = file.read()
  if damage:
    with open(path, "w", encoding="utf-8") as file:
      file.write(damage(text))
  else:
    os.remove(path)
  with pytest.raises(UserError,
                     match=f"{path}' (is damaged: it does not tell of all 3 steps|cannot be read)"):
    tiny(folder).network(k=1)
  with open(path, "w", encoding="utf-8") as file:
    file.write(text)


def test_one_of_other_settings_is_refused(folder):
  path = os.path.join(tiny(folder).network(k=1).folder, "config.json")
  cache.write(path, cache.read(path) | {"k": 5})
  with pytest.raises(UserError,
                     match="holds a network with k 5, not 1 as its name says; remove it"):
    tiny(folder).network(k=1)
