"""Adversarial training as a good tutorial would write it, to hold the project's own against.

A Keras Sequential model, `GradientTape`, Keras' Adam, float32, and one `tf.function` for each of
attack and training step.
"""

import keras
import tensorflow as tf


def build():
  """The paper's network (§6) for MNIST, layer by layer."""
  layers = keras.layers
  return keras.Sequential([
      keras.Input((28, 28, 1)),
      layers.Conv2D(32, 5, padding="same", activation="relu"), layers.MaxPool2D(2),
      layers.Conv2D(64, 5, padding="same", activation="relu"), layers.MaxPool2D(2),
      layers.Flatten(), layers.Dense(1024, activation="relu"), layers.Dense(10)])


def attack_of(model, epsilon=0.3):
  """PGD (Eq. 5) on a model, from (images, labels, k) to adversarial images."""
  loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

  @tf.function
  def attack(images, labels, k):
    alpha = 2.5 * epsilon / tf.cast(k, tf.float32)
    x = tf.clip_by_value(images + tf.random.uniform(tf.shape(images), -epsilon, epsilon), 0.0, 1.0)
    for _ in tf.range(k):
      with tf.GradientTape() as tape:
        tape.watch(x)
        loss = loss_of(labels, model(x))
      x = x + alpha * tf.sign(tape.gradient(loss, x))
      x = tf.clip_by_value(tf.clip_by_value(x, images - epsilon, images + epsilon), 0.0, 1.0)
    return x

  return attack


def step_of(model, attack, learning_rate=1e-4):
  """A training step (Eq. 6), from (images, labels, k) to the loss."""
  loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
  optimizer = keras.optimizers.Adam(learning_rate)
  optimizer.build(model.trainable_variables)

  @tf.function
  def step(images, labels, k):
    adversarial = attack(images, labels, k)
    with tf.GradientTape() as tape:
      loss = loss_of(labels, model(adversarial, training=True))
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
    return loss

  return step
