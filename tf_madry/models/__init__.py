"""What is trained: the network, its layers, and checkpoints of others.

Another network is another file here, with a function like `network.build`, and its line in
`NETWORKS`.
"""

from tf_madry.runtime import numerics

numerics.require_keras()  # before a module here imports it and finds another backend

import keras  # noqa: E402

from tf_madry.errors import require  # noqa: E402
from tf_madry.models import network  # noqa: E402

NETWORKS = {"paper": network.build}


def build(name: str, image_shape: tuple[int, int, int], num_classes: int,
          **settings: object) -> keras.Model:
  """Builds the network of that name with fresh weights; arguments as of `network.build`.

  Raises:
    UserError: there is no network of that name, or it has no use for such images.
  """
  require(name in NETWORKS, "network", name, ", ".join(NETWORKS))
  return NETWORKS[name](image_shape, num_classes, **settings)
