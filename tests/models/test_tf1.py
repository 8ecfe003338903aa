"""Checkpoints of the challenge's own TensorFlow 1 code."""

import os

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.evaluating import eval_script
from tf_madry import checkpoints, datasets
from tf_madry.errors import UserError
from tf_madry.models import loading, network, tf1


@pytest.fixture(scope="module")
def images():
  return datasets.load().test.images[:30]


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
  """(directory, logits of `images`) of a checkpoint as the challenge's train.py leaves it, Adam and
  all."""
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


@pytest.mark.parametrize("name", ["", "checkpoint-3", "checkpoint-3.index",
                                  "checkpoint-3.data-00000-of-00001"])
def test_a_tf1_checkpoint_gives_the_same_logits(released, images, name):
  folder, logits = released
  assert "Variable_7/Adam_1" in tf.train.load_checkpoint(folder).get_variable_to_shape_map()
  loaded = loading.load_model(os.path.join(folder, name) if name else folder)
  np.testing.assert_allclose(loaded.model(datasets.as_float(images)), logits, atol=1e-5)
  assert loaded.step == 3
  assert loaded.path == os.path.join(folder, "checkpoint-3")
  assert (loaded.config.attack.k, loaded.config.attack.alpha,
          loaded.config.attack.epsilon) == (40, 0.01, 0.3)
  assert checkpoints.home(loaded.path) == folder


def test_a_tf1_checkpoint_is_not_watched(released):
  with pytest.raises(UserError,
                     match=r"model_dir is .*, accepted: a directory that train.py writes to; "):
    eval_script("--watch", f"--model_dir={released[0]}")


def write_tf1(prefix, **changed):
  """A TF1 checkpoint with the challenge's variables, but for some: None leaves one out."""
  names = {f"Variable_{number}" if number else "Variable": path
           for number, path in enumerate(tf1.ORDER)}
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
    (cut_data, "TF1 checkpoint '.*/c' cannot be read: "),
    (cut_index, "TF1 checkpoint '.*/c' cannot be read: "),
    (lambda folder: write_tf1(folder / "c", Variable_6=None),
     r"Variable_6 of .*/c' is 'missing', accepted: .*\(1024, 10"),
    (lambda folder: write_tf1(folder / "c", Variable=np.zeros((3, 3, 1, 32), np.float32)),
     r"shape of Variable in .*/c' is \(3, 3, 1, 32\), accepted: \(5, 5, 1, 32\)"),
    (lambda folder: write_tf1(folder / "c", Variable_8=np.zeros(3, np.float32)), "Variable_8"),
    (lost,
     r"newest checkpoint by '.*/checkpoint' is '.*checkpoint-9', accepted: one that is there"),
    (lambda folder: str(folder),
     "model directory is '.*', accepted: a directory with a checkpoint in it"),
    (lambda folder: str(folder / "checkpoint-7"), "model is '.*checkpoint-7', accepted: "),
])
def test_a_tf1_checkpoint_that_cannot_be_used_is_named(tmp_path, write, said):
  with pytest.raises(UserError, match=said) as refusal:
    loading.load_model(write(tmp_path))
  assert "\n" not in str(refusal.value)
