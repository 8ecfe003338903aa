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


def test_strips_are_image_perturbation_and_adversarial_image_side_by_side():
  model, split, images = attacked()
  easiest, hardest = pictures.choose(model, split, images)
  numbers = [*easiest, *hardest]
  found = pictures.strips(model, split, images)
  natural, shown, adversarial = np.split(found.images, 3, axis=2)
  np.testing.assert_array_equal(natural, datasets.as_float(split.images[numbers]))
  np.testing.assert_array_equal(adversarial, images[numbers])
  assert shown.min() >= 0 and shown.max() <= 1 and np.abs(shown - 0.5).max() == 0.5
  np.testing.assert_allclose((shown - 0.5) * 2 * np.abs(adversarial - natural).max(),
                             adversarial - natural, atol=1e-6)
  lines = found.text.splitlines()[4:]
  said = model(images[numbers]).numpy().argmax(-1)
  assert len(lines) == 2 * pictures.EACH
  for line, number, answer in zip(lines, numbers, said, strict=True):
    assert line.startswith(f"| {split.labels[number]} | {split.labels[number]} (")
    assert f" | {answer} (" in line


def test_a_model_that_is_always_wrong_has_no_pictures():
  model, split, images = attacked()
  wrong = datasets.Split(split.images, np.int32(model(datasets.as_float(split.images)).numpy().argmin(-1)))
  assert pictures.strips(model, wrong, images).images.shape == (0, *split.images.shape[1:2],
                                                                3 * split.images.shape[2], 1)
