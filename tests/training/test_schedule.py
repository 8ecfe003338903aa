"""What changes over a run."""

import numpy as np
import tensorflow as tf

from tf_madry.training import schedule


def test_schedules_rise_and_fall():
  rates = [float(schedule.rate("linear", 2.0, tf.constant(done))) for done in (0.0, 0.05, 0.1, 0.55, 1.0)]
  np.testing.assert_allclose(rates, [0, 1, 2, 1, 0], atol=1e-6)
  assert float(schedule.rate("constant", 2.0, tf.constant(0.9))) == 2
  np.testing.assert_allclose([float(schedule.ramp(0.2, tf.constant(done))) for done in (0.0, 0.1, 0.2, 0.9)], [0, 0.5, 1, 1])
  assert float(schedule.ramp(0.0, tf.constant(0.0))) == 1
