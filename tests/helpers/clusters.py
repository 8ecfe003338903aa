"""A Ray cluster on this machine, of nodes with one core each, and what its workers leave behind."""

import contextlib
import os
import pathlib

from tf_madry.asynchronous.ray.cluster import OWN_SHARE

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ.setdefault(*OWN_SHARE)


@contextlib.contextmanager
def cluster():
  """A `ray.cluster_utils.Cluster` with a head node while the block lasts."""
  from ray.cluster_utils import Cluster
  made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
  try:
    yield made
  finally:
    made.shutdown()


def actors():
  """Process ids of all actors of this machine."""
  found = []
  for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
    with contextlib.suppress(OSError):
      if path.read_bytes().startswith(b"ray::Worker"):
        found.append(int(path.parent.name))
  return sorted(found)
