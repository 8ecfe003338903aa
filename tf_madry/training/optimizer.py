"""Adam in one pass over the weights."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from tf_madry.runtime import numerics


@keras.saving.register_keras_serializable("tf_madry")
class Adam(keras.optimizers.Adam):
  """Keras' Adam, with its update of each variable done by TensorFlow's one kernel for it.

  Keras does it in nine operations, each of which goes through memory: three times as long on a CPU.
  """

  def __init__(self, *args: object, **kwargs: object) -> None:
    with numerics.floatx():  # the type of the variable that holds the rate
      super().__init__(*args, **kwargs)

  def apply(self, grads: Sequence[tf.Tensor],
            trainable_variables: Sequence[tf.Variable] | None = None) -> None:
    """Updates these variables (None: all that it was built with).

    In a replica of `tf.distribute` too: Keras would sum the gradients of all replicas, which have
    been summed.
    """
    if not self.built:
      self.build(trainable_variables)
    variables = self._trainable_variables if trainable_variables is None else trainable_variables
    for gradient, variable in zip(grads, variables, strict=True):
      self.update_step(gradient, variable, self.learning_rate)
    self.iterations.assign_add(1)

  def update_step(self, gradient: tf.Tensor, variable: tf.Variable,
                  learning_rate: tf.Tensor) -> None:
    """Updates one variable and its two moments."""
    number = self._get_variable_index(variable)
    done = tf.cast(self.iterations + 1, tf.float32)
    tf.raw_ops.ResourceApplyAdam(
        var=_handle(variable), m=_handle(self._momentums[number]),
        v=_handle(self._velocities[number]), beta1_power=self.beta_1**done,
        beta2_power=self.beta_2**done, lr=tf.cast(learning_rate, tf.float32), beta1=self.beta_1,
        beta2=self.beta_2, epsilon=self.epsilon, grad=gradient)


def _handle(variable):
  return (variable.value if isinstance(variable, keras.Variable) else variable).handle
