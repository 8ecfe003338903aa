"""What other processes do in tests.

Without TensorFlow: a worker must not have it before it has its placement.
"""

import contextlib
import dataclasses
import itertools
import os
import resource

import numpy as np

from tf_madry.asynchronous.local.placement import Placement


class Cliff(Placement):
  """A place where nobody arrives."""

  def apply(self):
    raise RuntimeError("over the edge")


@dataclasses.dataclass(frozen=True)
class Stumble(Placement):
  """A place where the first to come fails; `marker` is the path of a file that tells the others."""

  marker: str = ""

  def apply(self):
    if not os.path.exists(self.marker):
      open(self.marker, "w").close()
      raise RuntimeError("over the doorstep")
    super().apply()


@contextlib.contextmanager
def limited(limit, value):
  """A resource of this process, as `resource.RLIMIT_NOFILE`, cut down while the block lasts."""
  before = resource.getrlimit(limit)
  resource.setrlimit(limit, (value, before[1]))
  try:
    yield
  finally:
    resource.setrlimit(limit, before)


def pretend_gpus(number, folder, monkeypatch):
  """Puts an `nvidia-smi` that lists so many GPUs in a folder, for this process and its children."""
  script = folder / "nvidia-smi"
  script.write_text(
    "#!/bin/sh\n"
    + "".join(f"echo 'GPU {gpu}: Pretended (UUID: GPU-{gpu})'\n" for gpu in range(number))
  )
  script.chmod(0o755)
  monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def arrays(step, size=20_000):
  """Weights that tell the step they are of."""
  return [np.full((size, 40), step, np.float32), np.full(7, -step, np.float32)]


def publish_until_killed(weights):
  """Publishes as fast as it can."""
  for step in itertools.count(1):
    weights.publish(step, arrays(step))


def publish(weights, connection):
  """Publishes as fast as it can, until there is a message."""
  step = 0
  while not connection.poll():
    step += 1
    weights.publish(step, arrays(step))
