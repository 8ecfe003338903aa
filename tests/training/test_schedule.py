"""What changes over a run."""

import numpy as np
import pytest
import tensorflow as tf

from tf_madry.settings import TrainingConfig
from tf_madry.training import schedule


def test_schedules_rise_and_fall():
  rates = [float(schedule.rate("linear", 2.0, tf.constant(done))) for done in (0.0, 0.05, 0.1, 0.55, 1.0)]
  np.testing.assert_allclose(rates, [0, 1, 2, 1, 0], atol=1e-6)
  assert float(schedule.rate("constant", 2.0, tf.constant(0.9))) == 2
  np.testing.assert_allclose([float(schedule.ramp(0.2, tf.constant(done))) for done in (0.0, 0.1, 0.2, 0.9)], [0, 0.5, 1, 1])
  assert float(schedule.ramp(0.0, tf.constant(0.0))) == 1


@pytest.mark.parametrize(("scaling", "scale"), [("linear", 16.0), ("sqrt", 4.0)])
def test_the_rate_grows_with_the_batch(scaling, scale):
  settings = {"learning_rate": 0.5, "batch_size": 2048, "base_batch": 128, "rate_scaling": scaling}
  done = [0.0, 0.1, 0.2, 0.9]

  def rates(**more):
    grown = schedule.Schedule(TrainingConfig(**settings, **more))
    return [float(grown.learning_rate(tf.constant(part))) for part in done]

  np.testing.assert_allclose(rates(), 4 * [0.5 * scale])
  np.testing.assert_allclose(rates(warmup=0.2), [0.5, 0.25 + 0.25 * scale, 0.5 * scale, 0.5 * scale], rtol=1e-6)
  np.testing.assert_allclose(rates(warmup=0.2, schedule="linear"), [0, 0.25 + 0.25 * scale, 0.5 * scale * 8 / 9, 0.5 * scale / 9], rtol=1e-5)
