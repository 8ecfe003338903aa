"""Models of others: how they are called, and what of them is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.errors import error_of
from tests.helpers.evaluating import eval_script
from tf_madry.evaluation import record
from tf_madry.models import foreign, loading

SHAPE = (28, 28, 1)
IMAGES = np.random.default_rng(0).integers(0, 256, (6, *SHAPE)).astype(np.float32) / 255


def network(*ending, shape=SHAPE, dtype="float32", seed=1):
  keras.utils.set_random_seed(seed)
  layers = [keras.layers.Flatten(), keras.layers.Dense(16, activation="relu"), *ending]
  return keras.Sequential([keras.Input(shape, dtype=dtype), *layers])


def expected(model, images=IMAGES):
  return model(images).numpy()


@pytest.mark.parametrize("ending", [".keras", ".h5", ""])
def test_logits_are_as_they_are(tmp_path, ending):
  model, path = network(keras.layers.Dense(10)), str(tmp_path / f"model{ending}")
  model.save(path) if ending else model.export(path, verbose=False)
  assert foreign.is_foreign(path)
  loaded = foreign.load(path, SHAPE)
  np.testing.assert_allclose(loaded(tf.constant(IMAGES)), expected(model), rtol=1e-5, atol=1e-6)
  assert loaded.notes == [] and loaded.output_shape == (None, 10) and len(loaded.variables) == 4
  x = tf.constant(IMAGES)
  with tf.GradientTape() as tape:
    tape.watch(x)
    total = tf.reduce_sum(loaded(x)[:, 0])
  assert np.abs(tape.gradient(total, x)).max() > 0


@pytest.mark.parametrize("ending", [
    [keras.layers.Dense(10, activation="softmax")],
    [keras.layers.Dense(10), keras.layers.Softmax()],
    [keras.layers.Dense(10), keras.layers.Activation("softmax")]])
def test_a_softmax_at_the_end_is_taken_off_and_said(tmp_path, ending):
  model, path = network(*ending), str(tmp_path / "model.keras")
  model.save(path)
  loaded = foreign.load(path, SHAPE)
  logits = loaded(tf.constant(1e3 * IMAGES))  # where the softmax itself has no gradient left
  np.testing.assert_allclose(tf.nn.softmax(logits), expected(model, 1e3 * IMAGES), atol=1e-5)
  assert np.abs(logits).max() > 100
  assert loaded.notes == ["its softmax was taken off: attacks see logits"]


def test_probabilities_of_a_graph_are_inverted_and_said(tmp_path):
  model, path = network(keras.layers.Dense(10, activation="softmax")), str(tmp_path / "saved")
  model.export(path, verbose=False)
  loaded = foreign.load(path, SHAPE)
  np.testing.assert_allclose(tf.nn.softmax(loaded(tf.constant(IMAGES))), expected(model), atol=1e-5)
  assert "outputs are probabilities" in loaded.notes[0]


@pytest.mark.parametrize("shape", [(784,), (28, 28), (1, 28, 28), (None, None, 1)])
def test_images_are_arranged_for_the_model(tmp_path, shape):
  path = str(tmp_path / "model.keras")
  keras.utils.set_random_seed(0)
  images = keras.Input(shape)
  pooled = keras.layers.GlobalAveragePooling2D()(images) if None in shape else keras.layers.Flatten()(images)
  model = keras.Model(images, keras.layers.Dense(10)(pooled))
  model.save(path)
  own = IMAGES if None in shape else IMAGES.reshape(-1, *shape)
  np.testing.assert_allclose(foreign.load(path, SHAPE)(tf.constant(IMAGES)), expected(model, own),
                             rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", ["uint8", "float16"])
def test_other_types_of_images(tmp_path, dtype):
  images = keras.Input(SHAPE, dtype=dtype)
  x = keras.layers.Rescaling(1 / 255 if dtype == "uint8" else 1.0)(images)
  model = keras.Model(images, keras.layers.Dense(10)(keras.layers.Flatten()(x)))
  model.save(path := str(tmp_path / "model.keras"))
  own = np.round(IMAGES * 255).astype(np.uint8) if dtype == "uint8" else IMAGES.astype(np.float16)
  logits = foreign.load(path, SHAPE)(tf.constant(IMAGES))
  assert logits.dtype == tf.float32
  np.testing.assert_allclose(logits, expected(model, own), rtol=1e-3, atol=1e-3)


def lambda_layer(path):
  model = keras.Sequential([keras.Input(SHAPE), keras.layers.Lambda(lambda x: x),
                            keras.layers.Flatten(), keras.layers.Dense(10)])
  model.save(path)


def other_images(path):
  network(keras.layers.Dense(10), shape=(32, 32, 3)).save(path)


def no_classes(path):
  network(keras.layers.Dense(1)).save(path)


def no_classifier(path):
  keras.Sequential([keras.Input(SHAPE), keras.layers.Conv2D(3, 3)]).save(path)


def not_finite(path):
  model = network(keras.layers.Dense(10))
  model.layers[-1].set_weights([np.full((16, 10), np.nan), np.zeros(10)])
  model.save(path)


def two_inputs(path):
  inputs = [keras.Input(SHAPE), keras.Input(SHAPE)]
  keras.Model(inputs,
              keras.layers.Dense(10)(keras.layers.Flatten()(keras.layers.Add()(inputs)))).save(path)


def no_model(path):
  with open(path, "w") as file:
    file.write("no archive")


@pytest.mark.parametrize(("write", "said"), [
    (lambda_layer, "cannot be loaded"),
    (other_images, "input shape of the model is (32, 32, 3), accepted: (28, 28, 1)"),
    (no_classes, "output shape of the model is (1,)"),
    (no_classifier, "output shape of the model is (26, 26, 3)"),
    (not_finite, "an output of the model is 'not finite'"),
    (two_inputs, "one with 2 inputs and 1 outputs"),
    (no_model, "cannot be loaded"),
    (lambda path: None, "accepted: a file or folder that is there")])
@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_what_cannot_be_used_is_one_line(tmp_path, write, said, ending):
  path = str(tmp_path / f"model{ending}")
  write(path)
  assert said in error_of(foreign.load, path, SHAPE)


def test_a_graph_that_reads_files_is_refused(tmp_path):
  module = tf.Module()
  secret = tmp_path / "secret"
  secret.write_text("secret")

  @tf.function(input_signature=[tf.TensorSpec([None, *SHAPE], tf.float32)])
  def serve(images):
    length = tf.strings.length(tf.io.read_file(str(secret)))
    return tf.zeros([tf.shape(images)[0], 10]) + tf.cast(length, tf.float32)

  tf.saved_model.save(module, str(tmp_path / "saved"), {"serving_default": serve})
  assert "one that runs ReadFile" in error_of(foreign.load, str(tmp_path / "saved"), SHAPE)


def test_records_tell_models_of_equal_weights_apart(tmp_path):
  paths = [str(tmp_path / f"{name}.keras") for name in ("relu", "tanh")]
  for path, activation in zip(paths, ("relu", "tanh"), strict=True):
    keras.utils.set_random_seed(0)
    keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(),
                      keras.layers.Dense(10, activation=activation)]).save(path)
  one, other = (record.digest(foreign.load(path, SHAPE)) for path in paths)
  assert one != other


def test_eval_takes_it_as_model_and_as_source(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  network(keras.layers.Dense(10, activation="softmax")).save("model.keras")
  network(keras.layers.Dense(10), seed=2).save("other.h5")
  arguments = ["--checkpoint=model.keras", "--source=other.h5", "--num_examples=20", "--k=2",
               "--json=a.json"]
  assert eval_script(*arguments) == 0
  output = capsys.readouterr().out
  assert "note: its softmax was taken off" in output
  assert "model.keras: 20 test examples, spread over the split; source 1: other.h5; seed 0" in output
  assert eval_script("--checkpoint=model.keras", "--attack=suite", "--k=2", "--queries=5",
                     "--num_examples=40") == 0
  assert list(tmp_path.glob("suite/*.npz"))
  assert loading.load_model("model.keras").step is None
