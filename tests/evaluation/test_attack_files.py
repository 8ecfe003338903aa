"""Attack files, TF1 checkpoints, and the places on the leaderboard."""

import json
import os
import pickle
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.evaluating import eval_script, train
from tf_madry import checkpoints, datasets
from tf_madry.attacks.pgd import FGSM, PGD
from tf_madry.errors import UserError
from tf_madry.evaluation import accuracy, attack_files, published
from tf_madry.models import loading, network, tf1

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
    np.asarray, np.asfortranarray, lambda array: array.astype(np.float64), lambda array: array.astype(">f4"),
    lambda array: np.clip(array + 5e-5, 0, 1)])
def test_a_valid_file_is_accepted_as_it_is(tmp_path, images, attack, variant):
  perturbed = attack_files.read_attack(saved(tmp_path / "a.npy", variant(attack)), images, EPSILON)
  assert perturbed.notice is None
  assert perturbed.largest == pytest.approx(0.3, abs=1e-4)
  assert (perturbed.example, perturbed.row, perturbed.column) == (17, 3, 5)
  np.testing.assert_array_equal(perturbed.images, variant(attack))
  assert isinstance(perturbed.images, np.memmap)


@pytest.mark.parametrize("shape", [(30, 28, 28), (30, 28, 28, 1)])
def test_image_shapes_are_accepted_and_said_so(tmp_path, images, attack, shape):
  perturbed = attack_files.read_attack(saved(tmp_path / "a.npy", attack.reshape(shape)), images, EPSILON)
  assert perturbed.notice == f"shape {shape} taken as (30, 784)"


def with_pixel(value, at=(11, 40)):
  def change(attack):
    attack = attack.copy()
    attack[at] = value
    return attack
  return change


@pytest.mark.parametrize(("change", "said"), [
    (lambda attack: attack[:, :783], r"shape of attack_file '.*' is \(30, 783\), accepted: \(30, 784\) or \(30, 28"),
    (lambda attack: attack[:29], r"is \(29, 784\)"), (lambda attack: attack.T, r"is \(784, 30\)"),
    (lambda attack: attack.reshape(30, 1, 784), r"is \(30, 1, 784\)"), (lambda attack: attack.ravel(), r"is \(23520,\)"),
    (lambda attack: np.zeros((0, 784), np.float32), r"is \(0, 784\)"),
    (lambda attack: (attack * 255).astype(np.uint8), "type of .* is 'uint8', accepted: float32 or float64"),
    (lambda attack: attack.astype(np.complex64), "complex64"),
    (with_pixel(np.nan), "example 11, row 1, column 12, is nan, accepted: finite"),
    (with_pixel(-np.inf), "is -inf, accepted: finite"),
    (with_pixel(-0.01), r"is -0.01, accepted: numbers from 0 to 1"), (with_pixel(1.001), "is 1.001"),
    (with_pixel(0.302), r"largest perturbation in .* is '0.302 \(example 11, row 1, column 12\)', accepted: at most"),
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
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(1000))
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
    (truncated, "cannot be used: mmap length is greater than file size"), (cut_header, "cannot be used"),
    (open_quote, "cannot be used"), (of_shape((-30, 784)), "cannot be used: memory mapped length must be positive"),
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
    again, perturbed, predictions = attack_files.evaluate_file(loaded, path, split, 0.05, batch_size=100)
    assert perturbed.images.shape == (300, 784) and perturbed.images.dtype == np.float32
    assert again.adversarial_accuracy == result.adversarial_accuracy < result.natural_accuracy
    assert (predictions == split.labels).mean() == again.adversarial_accuracy


def test_the_challenge_from_end_to_end(tmp_path, monkeypatch, capsys, model_dir):
  monkeypatch.chdir(tmp_path)
  model = f"--model_dir={model_dir}"
  assert eval_script(model, "--attack=fgsm", "--epsilon=0.1", "--save_attack=a.npy", "--json=a.json") == 0
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


@pytest.mark.parametrize(("value", "place"), [
    (0.87, "place 1 of 19, before Guided Local Attack (88.00%)"),
    (0.88, "place 2 of 19, after Guided Local Attack (88.00%), before PCROS (88.04%)"),
    (0.8951, "place 13 of 19, after logit difference, best target (88.85%), before PGD-100, cross-entropy, 50 restarts "
     "(89.62%)"),
    (0.99, "place 19 of 19, after FGSM, CW loss (96.40%)")])
def test_places_on_the_leaderboard(value, place):
  assert published.place(value, published.WHITE_BOX) == place


def challenge_graph():
  """The challenge's network as TensorFlow 1 code builds it: (input, logits)."""
  v1 = tf.compat.v1

  def variable(*shape):
    return v1.Variable(v1.truncated_normal(shape, stddev=0.1, seed=len(v1.global_variables())))

  def pool(x):
    return tf.nn.max_pool2d(x, 2, 2, "SAME")

  pixels = v1.placeholder(tf.float32, [None, 784])
  x = tf.reshape(pixels, [-1, 28, 28, 1])
  for channels, filters in ((1, 32), (32, 64)):
    kernel, bias = variable(5, 5, channels, filters), variable(filters)
    x = pool(tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME") + bias))
  kernel, bias = variable(7 * 7 * 64, 1024), variable(1024)
  x = tf.nn.relu(tf.reshape(x, [-1, 7 * 7 * 64]) @ kernel + bias)
  kernel, bias = variable(1024, 10), variable(10)
  return pixels, x @ kernel + bias


@pytest.fixture(scope="module")
def released(tmp_path_factory, images):
  """(directory, logits of `images`) of a checkpoint as the challenge's train.py leaves it, Adam and all."""
  v1, folder = tf.compat.v1, tmp_path_factory.mktemp("secret")
  with tf.Graph().as_default(), v1.Session() as session:
    step = v1.train.get_or_create_global_step()
    pixels, logits = challenge_graph()
    loss = tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(np.arange(30) % 10, logits))
    train_step = v1.train.AdamOptimizer(1e-4).minimize(loss, global_step=step)
    session.run(v1.global_variables_initializer())
    feed = {pixels: datasets.as_float(images).reshape(30, 784)}
    for _ in range(3):
      session.run(train_step, feed)
    v1.train.Saver(max_to_keep=3).save(session, str(folder / "checkpoint"), global_step=step)
    return str(folder), session.run(logits, feed)


@pytest.mark.parametrize("name", ["", "checkpoint-3", "checkpoint-3.index", "checkpoint-3.data-00000-of-00001"])
def test_a_tf1_checkpoint_gives_the_same_logits(released, images, name):
  folder, logits = released
  assert "Variable_7/Adam_1" in tf.train.load_checkpoint(folder).get_variable_to_shape_map()
  loaded = loading.load_model(os.path.join(folder, name) if name else folder)
  np.testing.assert_allclose(loaded.model(datasets.as_float(images)), logits, atol=1e-5)
  assert loaded.step == 3
  assert loaded.path == os.path.join(folder, "checkpoint-3")
  assert (loaded.config.attack.k, loaded.config.attack.alpha, loaded.config.attack.epsilon) == (40, 0.01, 0.3)
  assert checkpoints.home(loaded.path) == folder


def test_a_tf1_checkpoint_is_not_watched(released):
  with pytest.raises(UserError, match=r"model_dir is .*, accepted: a directory that train.py writes to; "):
    eval_script("--watch", f"--model_dir={released[0]}")


def write_tf1(prefix, **changed):
  """A TF1 checkpoint with the challenge's variables, but for some: None leaves one out."""
  names = {f"Variable_{number}" if number else "Variable": path for number, path in enumerate(tf1.ORDER)}
  weights = {variable.path: variable.numpy() for variable in network.build().variables}
  values = {name: weights[path] for name, path in names.items()} | changed
  v1 = tf.compat.v1
  with tf.Graph().as_default(), v1.Session() as session:
    for name, value in values.items():
      if value is not None:
        v1.Variable(value, name=name, use_resource=False)
    session.run(v1.global_variables_initializer())
    v1.train.Saver().save(session, str(prefix))
  return str(prefix)


def lost_data(folder):
  prefix = write_tf1(folder / "c")
  os.remove(f"{prefix}.data-00000-of-00001")
  return prefix


def cut_data(folder):
  prefix = write_tf1(folder / "c")
  os.truncate(f"{prefix}.data-00000-of-00001", 1000)
  return prefix


def cut_index(folder):
  prefix = write_tf1(folder / "c")
  os.truncate(f"{prefix}.index", 20)
  return prefix


def lost(folder):
  (folder / "checkpoint").write_text('model_checkpoint_path: "checkpoint-9"\n')
  return str(folder)


@pytest.mark.parametrize(("write", "said"), [
    (lost_data, r"TF1 checkpoint '.*/c' cannot be read: .*c.data-00000-of-00001"),
    (cut_data, "TF1 checkpoint '.*/c' cannot be read: "), (cut_index, "TF1 checkpoint '.*/c' cannot be read: "),
    (lambda folder: write_tf1(folder / "c", Variable_6=None), r"Variable_6 of .*/c' is 'missing', accepted: .*\(1024, 10"),
    (lambda folder: write_tf1(folder / "c", Variable=np.zeros((3, 3, 1, 32), np.float32)),
     r"shape of Variable in .*/c' is \(3, 3, 1, 32\), accepted: \(5, 5, 1, 32\)"),
    (lambda folder: write_tf1(folder / "c", Variable_8=np.zeros(3, np.float32)), "Variable_8"),
    (lost, r"newest checkpoint by '.*/checkpoint' is '.*checkpoint-9', accepted: one that is there"),
    (lambda folder: str(folder), "model directory is '.*', accepted: a directory with a checkpoint in it"),
    (lambda folder: str(folder / "checkpoint-7"), "model is '.*checkpoint-7', accepted: "),
])
def test_a_tf1_checkpoint_that_cannot_be_used_is_named(tmp_path, write, said):
  with pytest.raises(UserError, match=said) as refusal:
    loading.load_model(write(tmp_path))
  assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("arguments", "said"), [
    (["--attack_file=a.npy", "--leaderboard"], "flags is '--attack_file --leaderboard', accepted: one of them"),
    (["--attack_file=a.npy", "--save_attack=b.npy"], "--save_attack goes with --attack, not with --attack_file"),
    (["--attack_file=a.npy", "--k=3"], "--k goes with --attack and --watch, not with --attack_file"),
    (["--attack_file=a.npy", "--num_examples=10"], "--num_examples goes with"),
    (["--attack_file=pred.npy"], "predictions is 'pred.npy', accepted: another file"),
    (["--attack_file=a.npy", "--predictions=none/pred.npy"], "predictions is 'none/pred.npy', accepted: a file"),
    (["--predictions=p.npy"], "--predictions goes with --attack_file"),
    (["--markdown=a.md"], "--markdown goes with --leaderboard"), (["--leaderboard", "--k=3"], "--k goes with"),
    (["--leaderboard", "--save_attack=a.npy"], "--save_attack goes with --attack"),
    (["--save_attack=a.npy", "--num_examples=100"], "only with the whole test split"),
    (["--save_attack=a.npy", "--split=train"], "only with the whole test split"),
    (["--save_attack=none/a.npy"], "save_attack is 'none/a.npy', accepted: a file in a directory that exists"),
    (["--json=/dev/null"], "json is '/dev/null', accepted: a file in"), (["--json="], "json is '', accepted: a file in"),
    (["--json=a.json", "--save_attack=./a.json"], "json is 'a.json', accepted: another file than --save_attack"),
    (["--attack_file=a.npy", "--json=a.npy"], "json is 'a.npy', accepted: another file than --attack_file"),
    (["--attack_file="], "attack_file is '', accepted: the path of a .npy file"),
    (["--source=a", "--source=b"], "source is 'a, b', accepted: one model"),
    (["--attack=suite", "--restarts=2"], "restarts is 2, accepted: 1 with --attack suite"),
])
def test_flags_that_do_not_go_together(tmp_path, monkeypatch, arguments, said):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(UserError, match=said):
    eval_script(*arguments)
  assert os.listdir(tmp_path) == []
