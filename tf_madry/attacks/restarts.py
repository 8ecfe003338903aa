"""Several tries at the same images, each only on what still stands: the runs of an attack, or its
targets."""

import dataclasses
import functools
from collections.abc import Callable, Iterable

import tensorflow as tf

from tf_madry.attacks.base import Attack, Cost, Model, Seed, known_labels, prepare
from tf_madry.attacks.losses import score
from tf_madry.errors import require
from tf_madry.runtime import seeds

Try = Callable[..., tf.Tensor]  # from (images, labels) or (images, labels, targets) to images


def in_turn(model: Model, images: tf.Tensor, labels: tf.Tensor, tries: Iterable[Try],
            targets: tf.Tensor | None = None) -> tf.Tensor:
  """Makes one try after another: the first at all images, the others only where the model is still
  right.

  Of every example the first try that the model gets wrong is kept; of one that stands to the end,
  the image with the highest cross-entropy. An image that the model gets wrong as it is would need
  no try, but the model may only be the source of an attack on another one. So the try is kept if
  the model is wrong with a higher cross-entropy.

  Args:
    model: maps images to logits.
    images: float32 [batch, height, width, channels] in [0, 1].
    labels: int32 [batch].
    tries: used up only as far as something stands.
    targets: int32 [batch, tries], for tries that take one: the class each is to reach, or a
      negative number from where on an example is to be left alone.

  Returns:
    float32 images, of the shape of `images`.
  """
  images, labels = prepare(model, images, labels)
  best = images
  with known_labels():
    right, highest = score(model, images, labels)
  rows = tf.where(tf.ones_like(right))
  for number, attempt in enumerate(tries):
    more = ()
    if targets is not None:
      rows = rows[tf.gather_nd(targets[:, number], rows) >= 0]
      more = (tf.gather_nd(targets[:, number], rows),)
    if tf.size(rows) == 0:
      break
    aim = tf.gather_nd(labels, rows)
    tried = attempt(tf.gather_nd(images, rows), aim, *more)
    stands, loss = score(model, tried, aim)
    stood, higher = tf.gather_nd(right, rows), loss > tf.gather_nd(highest, rows)
    # A first success outbids every loss seen so far, so that it is kept however low its own
    # cross-entropy.
    better = tf.where(stood, ~stands | higher, ~stands & higher)
    best = tf.tensor_scatter_nd_update(best, rows[better], tried[better])
    highest = tf.tensor_scatter_nd_update(highest, rows[better], loss[better])
    rows = rows[stood & stands]
  return best


@dataclasses.dataclass(frozen=True, kw_only=True)
class Restarts:
  """Runs a randomised attack several times, as `in_turn` does. The first run is the attack without
  restarts.

  Attributes:
    attack: the attack to repeat; one that is not `randomised` is refused.
    restarts: how often it runs at the most.
    target: the model that is to be wrong, where the one that the attack is called on is only the
      source of a black-box attack; None: that one.
  """

  attack: Attack
  restarts: int
  target: Model | None = dataclasses.field(default=None, repr=False, compare=False)

  def __post_init__(self):
    require(self.restarts >= 1, "restarts", self.restarts, "a whole number, at least 1")
    require(self.restarts == 1 or self.attack.randomised, "restarts", self.restarts,
            f"1 for {self.attack}, which does the same every time")

  @property
  def epsilon(self) -> float:
    """As in `Attack`."""
    return self.attack.epsilon

  @property
  def randomised(self) -> bool:
    """As in `Attack`."""
    return self.attack.randomised

  @property
  def fewest_classes(self) -> int:
    """As in `Attack`."""
    return self.attack.fewest_classes

  def cost(self, num_classes: int) -> Cost:
    """As in `Attack`."""
    return Cost(*(self.restarts * times for times in self.attack.cost(num_classes)))

  def __call__(self, model: Model, images: tf.Tensor, labels: tf.Tensor, *,
               seed: Seed = 0) -> tf.Tensor:
    """As in `Attack`."""
    runs = (functools.partial(self.attack, model,
                              seed=seeds.key(seed, run, "restart") if run else seed)
            for run in range(self.restarts))
    return in_turn(self.target or model, images, labels, runs)
