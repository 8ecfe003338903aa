"""What TensorFlow really ran: the quick kernel of max-pooling's gradient, wherever a gradient is taken."""

import glob

import pytest
import tensorflow as tf

from tf_madry import config, datasets
from tf_madry.attacks import APGD, APGDT, PGD, MultiTargeted
from tf_madry.models import network
from tf_madry.training.learner import Learner
from tf_madry.training.synchronous import step_of

IMAGES, LABELS = tf.fill((8, 28, 28, 1), 0.5), tf.range(8)
ATTACKS = [PGD(k=2), APGD(k=2), APGDT(k=2, targets=1), MultiTargeted(k=2)]
STEPS = {"paper": {"k": 2, "batch_size": 8}, "fast": {"batch_size": 8},
         "certified": {"batch_size": 8}}


def ran(call, folder):
  """The types of the operations that a call ran, by TensorFlow's profiler."""
  xplane_pb2 = pytest.importorskip("tensorflow.tsl.profiler.protobuf.xplane_pb2")
  tf.profiler.experimental.start(str(folder))
  call()
  tf.profiler.experimental.stop()
  space = xplane_pb2.XSpace()
  (path,) = glob.glob(f"{folder}/**/*.xplane.pb", recursive=True)
  with open(path, "rb") as file:
    space.ParseFromString(file.read())
  names = (event.name for plane in space.planes for event in plane.event_metadata.values())
  return {name.rpartition(":")[2] for name in names}


def require_quick_kernel(ops):
  assert any(op.endswith("Conv2D") for op in ops), ops  # the profile is of the network
  if not any(op.startswith("_Mkl") for op in ops):
    pytest.skip("TensorFlow runs without oneDNN here")
  assert {op for op in ops if op.endswith("MaxPoolGrad")} == {"_MklNativeMaxPoolGrad"}


# Which kernel an instance got was a matter of chance, about one to one: three of each leave the slow one little room.
@pytest.mark.parametrize("instance", range(3))
def test_gradients_of_attacks_run_the_quick_kernel(tmp_path, instance):
  model = network.build(seed=instance)

  def attack():
    for one in ATTACKS:
      one(model, IMAGES, LABELS)

  require_quick_kernel(ran(attack, tmp_path))


@pytest.mark.parametrize("recipe", STEPS)
@pytest.mark.parametrize("instance", range(2))
def test_training_steps_run_the_quick_kernel(tmp_path, recipe, instance):
  learner = Learner(config.resolve(STEPS[recipe] | {"seed": instance}, recipe)[0], datasets.load())
  step = step_of(learner)
  indices = tf.range(learner.config.training.drawn)
  require_quick_kernel(ran(lambda: step.run(indices, tf.constant(0)), tmp_path))
