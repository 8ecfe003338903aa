"""Networks that are shipped: what their cards say, and how they are made."""

import json
import os

import numpy as np
import pytest

import tf_madry
from tests.helpers.errors import error_of
from tests.helpers.evaluating import train
from tests.helpers.processes import run
from tf_madry import checkpoints
from tf_madry.models import loading, pretrained
from tf_madry.pretrained.check import check


@pytest.mark.parametrize("name", pretrained.names())
def test_a_network_does_what_its_card_says(tmp_path, monkeypatch, name):
  monkeypatch.chdir(tmp_path)
  card, found = pretrained.read_card(name), check(name)
  assert (card["name"], found["n"]) == (name, card["check"]["n"])
  for key in ("natural", "adversarial"):
    # On another processor sums round otherwise: an image that lies on the border may fall.
    assert abs(found[f"{key}_accuracy"] - card["check"][f"{key}_accuracy"]) <= 0.01
    assert found[f"{key}_loss"] == pytest.approx(card["check"][f"{key}_loss"], rel=0.05)
  for result in card["results"]:
    assert result["model"] == f"pretrained/{name}" and result["step"] == card["step"]


def test_a_network_is_loaded_by_name_from_anywhere(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  loaded = loading.load_model("pretrained/paper")
  assert loaded.path == "pretrained/paper" and loaded.home == "models/pretrained-paper"
  assert loaded.model.count_params() == 3_274_634
  assert {weight.dtype for weight in loaded.model.weights} == {"float32"}
  assert tf_madry.load_model("pretrained/paper/").input_shape == (None, 28, 28, 1)
  assert "accepted: " in error_of(loading.load_model, "pretrained/papers")
  train(tmp_path / "pretrained" / "paper", steps=2)  # what is there comes first
  assert loading.load_model("pretrained/paper").step == 2


def test_weights_are_rounded_and_nothing_else_is_kept(tmp_path):
  checkpoint = checkpoints.read_newest(train(tmp_path / "model", steps=2))
  pretrained.write("small", checkpoint, tmp_path)
  assert os.path.getsize(tmp_path / "small.npz") < 7e6
  found = pretrained.read("small", tmp_path)
  names = {name for name in checkpoint.arrays if name.startswith("model/")}
  assert set(found.arrays) == names | {"step", "image_shape", "num_classes"}
  for name in names:
    assert found.arrays[name].dtype == np.float32
    np.testing.assert_allclose(found.arrays[name], checkpoint.arrays[name], rtol=2**-11, atol=1e-7)
  assert str(tmp_path) not in json.dumps(found.values)
  os.truncate(tmp_path / "small.npz", 1000)
  assert "'small' is damaged" in error_of(pretrained.read, "small", tmp_path)
  name = next(iter(names))
  large = checkpoint._replace(arrays=checkpoint.arrays | {name: np.full(3, 1e5, np.float32)})
  with np.errstate(over="ignore"):
    assert "accepted: weights of at most" in error_of(pretrained.write, "large", large, tmp_path)
  assert "name is '../up'" in error_of(pretrained.write, "../up", checkpoint, tmp_path)
  assert pretrained.names(tmp_path) == ["small"]


def test_results_of_other_weights_are_refused(tmp_path):
  path = tmp_path / "result.json"
  path.write_text(json.dumps({"model": "models/quick", "step": 6000}))
  for arguments, said in (((), "names is ''"), (("paper",), "model_dir is None"),
                          (("paper", f"--results={path}"), "of models/quick, step 6000")):
    code, output = run("tf_madry/pretrained", *arguments, cwd=tmp_path)
    assert code == 2 and said in output and output.count("\n") == 1, output
