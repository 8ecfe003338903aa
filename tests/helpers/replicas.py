"""Runs on one, two and three devices: python -m tests.helpers.replicas FOLDER; the CPU counts as three.

Their own process, since a TensorFlow that has looked at its devices keeps them.
"""

import functools
import shutil
import sys

import tensorflow as tf

from tf_madry import config as configs
from tf_madry.training import loop, replicas

SETTINGS = {"k": 1, "shift": 1, "batch_size": 8, "eval_every": 0, "log_every": 25, "checkpoint_every": 25, "learning_rate": 1e-3}
STEPS, STOP = 50, 25
# A step with all that steps can have, whose gradients are those of sums.
CERTIFIED = {"recipe": "certified", "precision": "float32", "reduction": "sum", "steps": 6, "shift": 0}


def config(model_dir, **settings):
  return configs.resolve({**SETTINGS, "steps": STEPS, "model_dir": model_dir, **settings}, settings.get("recipe"))[0]


def main(folder):
  cpu, *_ = tf.config.list_physical_devices("CPU")
  tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 3)

  def train(name, number, **settings):
    # TensorFlow's collectives would have all strategies of a process be of one size.
    engine = None if number == 2 else tf.distribute.ReductionToOneDevice()
    strategy = tf.distribute.MirroredStrategy([f"CPU:{device}" for device in range(number)],
                                              cross_device_ops=engine)
    make_stepper = functools.partial(replicas.stepper, strategy=strategy)
    loop.train(config(f"{folder}/{name}", **settings), make_stepper=make_stepper)

  for number in (1, 2, 3):
    train(str(number), number)
  shutil.copytree(f"{folder}/3/checkpoints", f"{folder}/resumed/checkpoints",
                  ignore=shutil.ignore_patterns(f"*{STEPS}.npz"))
  train("resumed", 2)
  train("certified", 3, **CERTIFIED)


if __name__ == "__main__":
  main(sys.argv[1])
