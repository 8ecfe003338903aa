"""Pictures of an attack."""

import numpy as np

from tests.helpers.evaluating import toy
from tf_madry import datasets
from tf_madry.attacks import PGD
from tf_madry.attacks.losses import margin
from tf_madry.evaluation import accuracy, pictures


def attacked():
  loaded, split = toy()
  images = np.empty(split.images.shape, np.float32)
  accuracy.evaluate(loaded.model, PGD(epsilon=0.03), split, adversarial=images)
  return loaded.model, split, images


def test_the_easiest_and_the_hardest_are_chosen_of_those_that_were_right():
  model, split, images = attacked()
  easiest, hardest = pictures.choose(model, split, images)
  leads = margin(model(images), split.labels).numpy()
  right = margin(model(datasets.as_float(split.images)), split.labels).numpy() > 0
  assert len({*easiest, *hardest}) == 2 * pictures.EACH and right[[*easiest, *hardest]].all()
  order = np.sort(leads[right])
  np.testing.assert_allclose(leads[easiest], order[:pictures.EACH], rtol=1e-5)
  np.testing.assert_allclose(leads[hardest], order[::-1][:pictures.EACH], rtol=1e-5)


def test_a_picture_is_written(tmp_path):
  model, split, images = attacked()
  path = tmp_path / "attack.png"
  pictures.draw_attack(str(path), model, split, images, "a model under PGD")
  assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5_000


def test_few_examples_are_drawn_once(tmp_path):
  model, split, images = attacked()
  few = datasets.Split(split.images[:4], split.labels[:4])
  easiest, hardest = pictures.choose(model, few, images[:4])
  assert len({*easiest, *hardest}) == len(easiest) + len(hardest) <= 4
  pictures.draw_attack(str(tmp_path / "few.png"), model, few, images[:4], "few")
