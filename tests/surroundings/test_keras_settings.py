"""Global settings of Keras and TensorFlow: they change no number, and nobody changes them."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import evaluating, processes, settings
from tf_madry import config as configs
from tf_madry import datasets
from tf_madry.attacks.apgd import APGD, APGDT
from tf_madry.attacks.losses import score
from tf_madry.attacks.pgd import PGD
from tf_madry.attacks.square import Square
from tf_madry.errors import UserError
from tf_madry.evaluation import verify
from tf_madry.models import network
from tf_madry.runtime import numerics
from tf_madry.training import learner as learner_lib
from tf_madry.training.synchronous import step_of

SETTINGS = ({"image_data_format": "channels_first"}, {"floatx": "float16"}, {"floatx": "float64"},
            {"policy": "mixed_float16"}, {"policy": "float64"})
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), np.uint8)
LABELS = np.arange(40, dtype=np.int32) % 3
SPLIT = datasets.Split(PIXELS, LABELS)
SMALL = datasets.Dataset("small", 3, SPLIT, SPLIT, SPLIT)


@pytest.fixture(autouse=True)
def _theirs():
  """Whatever a test does, the settings are the user's again."""
  def state():
    return (keras.config.image_data_format(), keras.config.floatx(), keras.config.dtype_policy(),
            tf.config.experimental.tensor_float_32_execution_enabled())
  before = state()
  yield
  assert state() == before


@pytest.mark.parametrize("given", SETTINGS, ids=str)
@pytest.mark.parametrize("initialization", ["challenge", "threshold"])
def test_the_network_is_the_same_under_any_setting(given, initialization):
  images = datasets.as_float(PIXELS)
  expected = network.build((8, 8, 1), 3, initialization=initialization)(images)
  with settings.keras_set(**given):
    logits = network.build((8, 8, 1), 3, initialization=initialization)(images)
    assert keras.config.floatx() == given.get("floatx", "float32")
  assert logits.dtype == tf.float32
  np.testing.assert_array_equal(logits, expected)


@pytest.mark.parametrize("recipe", ["paper", "fast"])
def test_training_takes_the_same_steps_under_any_setting(recipe):
  def weights():
    given = {"steps": 3, "batch_size": 8, "k": 2, "precision": "float32"}
    learner = learner_lib.Learner(configs.resolve(given, recipe)[0], SMALL)
    step = step_of(learner)
    for number in range(2):
      step.run(tf.range(learner.config.training.drawn), tf.constant(number))
    return {name: variable.numpy() for name, variable in learner.variables().items()}

  expected = weights()
  with settings.keras_set(image_data_format="channels_first", floatx="float16"):
    found = weights()
  assert {name: array.dtype for name, array in found.items()} == {name: array.dtype for name, array in expected.items()}
  for name, array in expected.items():
    np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.mark.parametrize(("given", "attacks"), [
    ({"floatx": "float64"}, [APGD(k=1, epsilon=0.1)]),
    ({"policy": "mixed_float16"}, [APGDT(k=1, epsilon=0.1, targets=1), Square(queries=2, epsilon=0.1)])])
def test_a_users_own_model_of_another_type_is_attacked(given, attacks):
  images = datasets.as_float(PIXELS)
  with settings.keras_set(**given):
    inputs = keras.Input((8, 8, 1))
    model = keras.Model(inputs, keras.layers.Dense(5)(keras.layers.Flatten()(inputs)))
    for attack in attacks:
      found = attack(model, images, LABELS)
      assert found.dtype == tf.float32
      assert verify.allowed(images, found.numpy(), 0.1).all()
    assert model(images).dtype != tf.float32
    np.testing.assert_array_equal(verify.predict(model, images, 20), np.argmax(model(images), -1))


@pytest.mark.parametrize(("label", "said"), [
    (3, "label is 3, accepted: whole numbers from 0 to 2, the classes of the model"), (-1, "label is -1"),
    (1.5, "label is 1.5"), (float("nan"), "label is nan"), (2**32, "label is 4294967296")])
def test_a_label_that_is_no_class_is_one_line(label, said):
  labels = np.append(LABELS[:-1], label)
  with pytest.raises(UserError, match=said):
    PGD(k=1)(network.build((8, 8, 1), 3), datasets.as_float(PIXELS), labels)
  for attack in (PGD(k=1), Square(queries=2)):  # on a model that does not say how many classes it has
    with pytest.raises(UserError, match=said):
      attack(lambda images: tf.reshape(images, [-1, 64])[:, :3], datasets.as_float(PIXELS), labels)


def test_an_attack_within_a_graph_is_one_line():
  model = network.build((8, 8, 1), 3)
  with pytest.raises(UserError, match="an attack is 'called inside a graph', accepted: eager calls"):
    tf.function(lambda: PGD(k=1)(model, datasets.as_float(PIXELS), LABELS), autograph=False)()


def test_attacks_find_the_same_where_functions_run_eagerly():
  model = network.build((8, 8, 1), 3)
  attack = PGD(k=2, epsilon=0.1)
  expected = attack(model, datasets.as_float(PIXELS), LABELS)
  tf.config.run_functions_eagerly(True)
  try:
    found = attack(model, datasets.as_float(PIXELS), LABELS)
  finally:
    tf.config.run_functions_eagerly(False)
  np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_program_does_not_see_the_users_settings(tmp_path):
  """keras.json, Keras by environment, oneDNN's precision, the locale: the same training, the same accuracies."""
  environment = settings.home(tmp_path / "home", **settings.HOSTILE) | {
      "KERAS_BACKEND": "jax", "TF_USE_LEGACY_KERAS": "1", "TF_SET_ONEDNN_FPMATH_MODE": "BF16", "LC_ALL": "C",
      "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": str(processes.ROOT)}
  given = {"steps": 3, "batch_size": 16, "log_every": 3, "eval_every": 0, "k": 1}
  config = tmp_path / "config.json"
  config.write_text(json.dumps(given))
  command = [sys.executable, processes.ROOT / "train.py", "--recipe=natural", f"--config={config}", "--steps=3",
             "--batch_size=16", "--model_dir=th\u00e9irs"]
  process = subprocess.run(command, cwd=tmp_path, env=environment, text=True, check=False, capture_output=True)
  assert process.returncode == 0, process.stderr
  assert json.loads((tmp_path / "home" / ".keras" / "keras.json").read_text()) == settings.HOSTILE
  evaluating.train(tmp_path / "ours", **given)

  def row(name):
    found = json.loads((tmp_path / name / "metrics.jsonl").read_text())
    return {key: value for key, value in found.items() if key not in ("time", "examples_per_second")}

  assert row("th\u00e9irs") == row("ours")
  ours, theirs = (np.load(tmp_path / name / "checkpoints" / "step-00000003.npz") for name in ("ours", "th\u00e9irs"))
  for name in ours.files:
    if name.startswith(("model/", "optimizer/")):
      np.testing.assert_array_equal(theirs[name], ours[name], err_msg=name)


def test_a_backend_that_keras_cannot_have_is_one_line(tmp_path):
  environment = settings.home(tmp_path, backend="jax") | {"PYTHONPATH": str(processes.ROOT)}
  environment.pop("KERAS_BACKEND", None)
  code = ("import sys, tf_madry\nfrom tf_madry.errors import UserError\nsys.modules['jax'] = None\n"
          "try: tf_madry.load_model('models/paper')\nexcept UserError as error: print(error)")
  output = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, text=True, check=True,
                          capture_output=True).stdout
  assert output.startswith("Keras cannot be imported (")
  assert "KERAS_BACKEND" in output
  assert output.count("\n") == 1


def test_a_keras_json_that_keras_refuses_is_one_line(monkeypatch):
  class Refusing:
    def find_spec(self, name, *_):
      assert name != "keras", "floatx"

  monkeypatch.setattr(sys, "meta_path", [Refusing(), *sys.meta_path])
  monkeypatch.delitem(sys.modules, "keras")
  with pytest.raises(UserError, match=r"Keras cannot be imported \(AssertionError: floatx\); look at keras\.json"):
    numerics.require_keras()


def test_another_backend_in_a_users_python_is_one_line(monkeypatch):
  monkeypatch.setattr(keras.config, "backend", lambda: "jax")
  with pytest.raises(UserError, match="backend of Keras is 'jax', accepted: tensorflow, by KERAS_BACKEND"):
    numerics.require_keras()


def test_what_is_counted_is_computed_in_float32():
  seen = []

  def model(images):
    seen.append((tf.config.experimental.tensor_float_32_execution_enabled(), rewriting()))
    return tf.reshape(images, [-1, 64])[:, :3]

  def rewriting():
    return tf.config.optimizer.get_experimental_options().get("auto_mixed_precision_onednn_bfloat16", False)

  tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": True})
  try:
    score(model, tf.constant(datasets.as_float(PIXELS)), LABELS)
    verify.predict(model, datasets.as_float(PIXELS), 20)
    assert rewriting()
  finally:
    tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": False})
  assert seen
  assert not any(sum(seen, ()))


def test_rewriting_to_bfloat16_changes_no_accuracy_or_loss():
  """On a processor with instructions for bfloat16 the losses would be others; elsewhere nothing is rewritten."""
  model = network.build((8, 8, 1), 3)
  images = tf.constant(datasets.as_float(PIXELS))
  expected = score(model, images, LABELS)
  tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": True})
  try:
    found = score(model, images, LABELS)
  finally:
    tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": False})
  np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.parametrize("name", numerics.IMPRECISE)
def test_less_than_float32_in_the_environment_is_refused(monkeypatch, name):
  monkeypatch.setenv(name, "BF16")
  model = network.build((8, 8, 1), 3)
  with pytest.raises(UserError, match=f"{name} is 'BF16', accepted: nothing"):
    score(model, tf.constant(datasets.as_float(PIXELS)), LABELS)
  monkeypatch.setenv(name, "strict")
  score(model, tf.constant(datasets.as_float(PIXELS)), LABELS)
