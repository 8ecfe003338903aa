"""The network's two products, convolution and matrix product, with gradients in the forms that CPUs are quick at.

The gradients of both are themselves convolutions and matrix products. TensorFlow's kernels for them are slower on a CPU
than those of the forward pass, so there the gradients are written as forward passes; on a GPU nothing is changed.
"""

import tensorflow as tf


def convolve(images, kernel):
  """The convolution of stride 1 with SAME padding.

  Args:
    images: [batch, height, width, channels].
    kernel: [side, side, channels, filters], of odd side.

  Returns:
    [batch, height, width, filters].
  """
  return _plain_convolve(images, kernel) if _on_gpu() else _cpu_convolve(images, kernel)


def multiply(rows, matrix):
  """The matrix product [batch, inputs] × [inputs, outputs]."""
  return tf.matmul(rows, matrix) if _on_gpu() else _cpu_multiply(rows, matrix)


def _on_gpu():
  return bool(tf.config.list_physical_devices("GPU"))


def _plain_convolve(images, kernel):
  return tf.nn.conv2d(images, kernel, 1, "SAME")


@tf.custom_gradient
def _cpu_convolve(images, kernel):
  def gradient(change):
    # With respect to the images: a convolution with the kernel turned round, filters and channels in each other's place.
    turned = tf.transpose(tf.reverse(kernel, (0, 1)), (0, 1, 3, 2))
    # With respect to the kernel: every channel is an image with the batch for channels, every filter a kernel as large as
    # the image; one output for each place where the two can lie.
    margin = [kernel.shape[0] // 2] * 2
    taps = tf.nn.conv2d(tf.transpose(images, (3, 1, 2, 0)), tf.transpose(change, (1, 2, 0, 3)), 1,
                        [[0, 0], margin, margin, [0, 0]])
    return _plain_convolve(change, turned), tf.transpose(taps, (1, 2, 0, 3))

  return _plain_convolve(images, kernel), gradient


@tf.custom_gradient
def _cpu_multiply(rows, matrix):
  def gradient(change):
    # As a product with the matrix as it lies in memory, not with its transpose.
    return tf.transpose(tf.matmul(matrix, change, transpose_b=True)), tf.matmul(rows, change, transpose_a=True)

  return tf.matmul(rows, matrix), gradient
