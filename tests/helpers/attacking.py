"""Small models to attack, and attacks that are quick on them."""

import numpy as np
import tensorflow as tf

from tf_madry import attacks


def random_net(seed=0, classes=5, pixels=36, hidden=24):
  """A ReLU net with one hidden layer, for images of 36 pixels."""
  rng = np.random.default_rng(seed)
  first = rng.normal(size=(pixels, hidden)).astype(np.float32)
  second = rng.normal(size=(hidden, classes)).astype(np.float32)
  return lambda images: tf.nn.relu((tf.reshape(images, [-1, pixels]) - 0.5) @ first) @ second


NET = random_net()
IMAGES = np.random.default_rng(1).random((64, 6, 6, 1)).astype(np.float32)
LABELS = np.argmax(NET(IMAGES), -1).astype(np.int32)


def accuracy(model, attack, images=IMAGES, labels=LABELS):
  return float(np.mean(np.argmax(model(attack(model, images, labels, seed=3)), -1) == labels))


QUICK = {"fgsm": {}, "pgd": {"k": 10}, "multitargeted": {"k": 10}, "apgd": {"k": 20},
         "apgd_t": {"k": 20}, "square": {"queries": 150}}


def small(name, **settings):
  """An attack of that name that is quick on NET, at an ε that leaves some examples standing."""
  return attacks.ATTACKS[name](**QUICK[name] | {"epsilon": 0.04} | settings)
