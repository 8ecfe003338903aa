"""The challenge's attack files."""

import json
import os
import pickle
import zipfile

import numpy as np
import pytest

from tests.helpers.evaluating import eval_script, train
from tf_madry import datasets
from tf_madry.attacks.pgd import FGSM, PGD
from tf_madry.errors import UserError
from tf_madry.evaluation import accuracy, attack_files
from tf_madry.models import loading

EPSILON = 0.3


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
  return train(tmp_path_factory.mktemp("challenge") / "model")


@pytest.fixture(scope="module")
def images():
  return datasets.load().test.images[:30]


@pytest.fixture
def attack(images):
  """A valid attack, [30, 784]: every pixel moved by 0.25, one by 0.3."""
  natural = datasets.as_float(images)
  moved = np.where(natural < 0.5, natural + 0.25, natural - 0.25)
  moved[17, 3, 5] = natural[17, 3, 5] + 0.3
  return moved.astype(np.float32).reshape(30, 784)


def saved(path, array):
  np.save(path, array)
  return str(path)


@pytest.mark.parametrize("variant", [
    np.asarray, np.asfortranarray, lambda array: array.astype(np.float64),
    lambda array: array.astype(">f4"), lambda array: np.clip(array + 5e-5, 0, 1)])
def test_a_valid_file_is_accepted_as_it_is(tmp_path, images, attack, variant):
  perturbed = attack_files.read_attack(saved(tmp_path / "a.npy", variant(attack)), images, EPSILON)
  assert perturbed.notice is None
  assert perturbed.largest == pytest.approx(0.3, abs=1e-4)
  assert (perturbed.example, perturbed.row, perturbed.column) == (17, 3, 5)
  np.testing.assert_array_equal(perturbed.images, variant(attack))
  assert isinstance(perturbed.images, np.memmap)


@pytest.mark.parametrize("shape", [(30, 28, 28), (30, 28, 28, 1)])
def test_image_shapes_are_accepted_and_said_so(tmp_path, images, attack, shape):
  perturbed = attack_files.read_attack(saved(tmp_path / "a.npy", attack.reshape(shape)), images,
                                       EPSILON)
  assert perturbed.notice == f"shape {shape} taken as (30, 784)"


def with_pixel(value, at=(11, 40)):
  def change(attack):
    attack = attack.copy()
    attack[at] = value
    return attack
  return change


@pytest.mark.parametrize(("change", "said"), [
    (lambda attack: attack[:, :783],
     r"shape of attack_file '.*' is \(30, 783\), accepted: \(30, 784\) or \(30, 28"),
    (lambda attack: attack[:29], r"is \(29, 784\)"), (lambda attack: attack.T, r"is \(784, 30\)"),
    (lambda attack: attack.reshape(30, 1, 784), r"is \(30, 1, 784\)"),
    (lambda attack: attack.ravel(), r"is \(23520,\)"),
    (lambda attack: np.zeros((0, 784), np.float32), r"is \(0, 784\)"),
    (lambda attack: (attack * 255).astype(np.uint8),
     "type of .* is 'uint8', accepted: float32 or float64"),
    (lambda attack: attack.astype(np.complex64), "complex64"),
    (with_pixel(np.nan), "example 11, row 1, column 12, is nan, accepted: finite"),
    (with_pixel(-np.inf), "is -inf, accepted: finite"),
    (with_pixel(-0.01), r"is -0.01, accepted: numbers from 0 to 1"),
    (with_pixel(1.001), "is 1.001"),
    (with_pixel(0.302),
     r"largest perturbation in .* is '0.302 \(example 11, row 1, column 12\)', accepted: at most"),
    (lambda attack: attack.astype(object), "pickled objects"),
])
def test_a_bad_array_is_refused(tmp_path, images, attack, change, said):
  if "302" in said:
    assert datasets.as_float(images).reshape(30, 784)[11, 40] == 0
  with pytest.raises(UserError, match=said):
    attack_files.read_attack(saved(tmp_path / "a.npy", change(attack)), images, EPSILON)


class Bomb:
  def __reduce__(self):
    return os.mkdir, ("executed",)


def truncated(path, attack):
  np.save(path, attack)
  os.truncate(path, 5000)


def cut_header(path, attack):
  np.save(path, attack)
  os.truncate(path, 40)


def of_shape(shape):
  def write(path, attack):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2,
                                                                 "little") + header.encode() + bytes(1000))
  return write


def open_quote(path, attack):
  np.save(path, attack)
  path.write_bytes(path.read_bytes().replace(b"}", b"]", 1))


def pickled(path, attack):
  path.write_bytes(pickle.dumps(Bomb()))


def pickled_array(path, attack):
  np.save(path, np.array([Bomb()], object))


def archive(path, attack):
  with open(path, "wb") as file:
    np.savez(file, attack)


def other_zip(path, attack):
  with zipfile.ZipFile(path, "w") as file:
    file.writestr("a.txt", "text")


@pytest.mark.parametrize(("write", "said"), [
    (truncated, "cannot be used: mmap length is greater than file size"),
    (cut_header, "cannot be used"),
    (open_quote, "cannot be used"),
    (of_shape((-30, 784)), "cannot be used: memory mapped length must be positive"),
    (of_shape((10**30, 784)), "cannot be used: Python int too large"),
    (of_shape((2**62, 784)), "cannot be used: array is too big"),
    (pickled, "is not a .npy file"), (pickled_array, "pickled objects, which are never loaded"),
    (archive, "is an archive"), (other_zip, "is an archive"),
    (lambda path, attack: path.write_bytes(b""), "is not a .npy file"),
    (lambda path, attack: path.write_text("0.1 0.2"), "is not a .npy file"),
    (lambda path, attack: path.mkdir(), "cannot be read: Is a directory"),
    (lambda path, attack: None, "cannot be read: No such file")])
def test_a_bad_file_is_refused_and_not_executed(tmp_path, monkeypatch, images, attack, write, said):
  monkeypatch.chdir(tmp_path)
  write(tmp_path / "a.npy", attack)
  with pytest.raises(UserError, match=said) as refusal:
    attack_files.read_attack("a.npy", images, EPSILON)
  assert "'a.npy'" in str(refusal.value) and "\n" not in str(refusal.value)
  assert not os.path.exists("executed")


def test_a_file_saved_here_has_the_same_accuracy_here(tmp_path, model_dir):
  loaded, split = loading.load_model(model_dir), datasets.load().test.head(300)
  for attack in (FGSM(epsilon=0.05), PGD(k=3, epsilon=0.05)):
    adversarial = np.empty(split.images.shape, np.float32)
    result = accuracy.run(loaded, attack, split, batch_size=100, seed=0, adversarial=adversarial)
    path = str(tmp_path / "a.npy")
    attack_files.write_attack(path, adversarial)
    again, perturbed, predictions = attack_files.evaluate_file(loaded, path, split, 0.05,
                                                               batch_size=100)
    assert perturbed.images.shape == (300, 784) and perturbed.images.dtype == np.float32
    assert again.adversarial_accuracy == result.adversarial_accuracy < result.natural_accuracy
    assert (predictions == split.labels).mean() == again.adversarial_accuracy


def test_the_challenge_from_end_to_end(tmp_path, monkeypatch, capsys, model_dir):
  monkeypatch.chdir(tmp_path)
  model = f"--model_dir={model_dir}"
  assert eval_script(model, "--attack=fgsm", "--epsilon=0.1", "--save_attack=a.npy",
                     "--json=a.json") == 0
  saved, result = np.load("a.npy"), json.loads((tmp_path / "a.json").read_text())
  assert saved.shape == (10_000, 784) and saved.dtype == np.float32
  assert "saved a.npy" in capsys.readouterr().out
  assert eval_script(model, "--attack_file=a.npy") == 0
  output, predictions = capsys.readouterr().out, np.load("pred.npy")
  assert (predictions == datasets.load().test.labels).mean() == result["adversarial_accuracy"]
  assert f"accuracy: {result['adversarial_accuracy']:.2%}  (95 % interval " in output
  assert "largest perturbation: 0.100000 (ε = 0.3), at example " in output
  assert "on the challenge's white-box leaderboard" in output and "saved pred.npy" in output
  with pytest.raises(UserError, match="largest perturbation"):
    eval_script(model, "--attack_file=a.npy", "--epsilon=0.09", "--predictions=none.npy")
  assert not (tmp_path / "none.npy").exists()
