"""Images that move by a few pixels."""

import numpy as np
import tensorflow as tf

from tests.helpers.training import arrays, same
from tf_madry import config as configs
from tf_madry.runtime import seeds
from tf_madry.training import loop, shifts


def test_images_move_by_all_that_is_allowed_and_no_further():
  images = np.random.default_rng(0).random((200, 6, 7, 2), np.float32) + 1
  moved = shifts.moved(tf.constant(images), 1, seeds.key(0, 0, "shift")).numpy()
  wide, found = np.pad(images, [(0, 0), (1, 1), (1, 1), (0, 0)]), set()
  for number, image in enumerate(moved):
    places = [(down, right) for down in range(3) for right in range(3)
              if np.array_equal(image, wide[number, down:down + 6, right:right + 7])]
    assert len(places) == 1
    found.update(places)
  assert len(found) == 9


def test_what_moved_moves_back():
  images = np.zeros((50, 9, 9, 1), np.float32)
  images[:, 2:-2, 2:-2] = np.random.default_rng(1).random((50, 5, 5, 1))
  key = seeds.key(0, 3, "shift")
  moved = shifts.moved(tf.constant(images), 2, key)
  assert not np.array_equal(moved, images)
  np.testing.assert_array_equal(shifts.moved(moved, 2, key, back=True), images)


def test_a_part_of_a_batch_moves_as_the_whole_does():
  images = tf.random.stateless_uniform([6, 5, 5, 1], [0, 0])
  key = seeds.key(0, 7, "shift")
  np.testing.assert_array_equal(shifts.moved(images[2:5], 2, key, (2, 6)),
                                shifts.moved(images, 2, key)[2:5])


def test_a_run_whose_images_move_goes_on_as_if_it_had_not_been_stopped(tmp_path):
  def train(name, steps, shift=2):
    settings = {"k": 1, "batch_size": 8, "eval_every": 0, "shift": shift}
    loop.train(configs.resolve({**settings, "steps": steps, "model_dir": str(tmp_path / name)})[0])
    return arrays(tmp_path / name)

  straight = train("straight", 4)
  train("stopped", 2)
  assert same(train("stopped", 4), straight)
  assert not same(train("still", 4, shift=0), straight)
