"""Training images moved by a few pixels, so that a long run does not learn them by heart."""

import tensorflow as tf


def moved(images: tf.Tensor, most: int, key: tf.Tensor,
          place: tuple[int, int] | None = None, back: bool = False) -> tf.Tensor:
  """Moves each image by up to so many pixels up or down, and as many to a side.

  Args:
    images: float32 [n, height, width, channels].
    most: pixels; what comes in from outside is 0.
    key: see `seeds.key`.
    place: (first, total) where the images are part of a batch, as in `linf.random_point`.
    back: whether to undo such a move, but for what it moved out.

  Returns:
    float32 images, of the shape of `images`.
  """
  first, total = place or (0, tf.shape(images)[0])
  moves = tf.random.stateless_uniform([total, 2], key, 0, 2 * most + 1, tf.int32)
  moves = moves[first:first + tf.shape(images)[0]]
  moves = 2 * most - moves if back else moves
  border = (most, most)
  wide = tf.pad(images, [(0, 0), border, border, (0, 0)])
  rows = tf.gather(wide, moves[:, :1] + tf.range(images.shape[1]), axis=1, batch_dims=1)
  columns = tf.gather(rows, moves[:, 1:] + tf.range(images.shape[2]), axis=2, batch_dims=1)
  return tf.ensure_shape(columns, images.shape)
