"""Asynchronous runs as a whole: begun as processes, looked at from outside."""

import contextlib
import functools
import json
import pathlib
import signal

from tests.helpers.processes import start
from tf_madry import checkpoints
from tf_madry import config as configs
from tf_madry.asynchronous import trainer
from tf_madry.asynchronous.local.pool import LocalPool
from tf_madry.training import loop

SMALL = {
  "k": 2,
  "batch_size": 16,
  "eval_every": 0,
  "log_every": 5,
  "summary_every": 5,
  "reload_every": 5,
}
NO_GPU = {"CUDA_VISIBLE_DEVICES": "-1"}


def config(model_dir, **settings):
  return configs.resolve({**SMALL, "model_dir": str(model_dir), **settings})[0]


def train(config, placement, **options):
  """Trains with one worker on this machine; `options` are those of the pool."""
  pool = functools.partial(LocalPool, placements=[placement], **options)
  return loop.train(config, make_stepper=functools.partial(trainer.Asynchronous, make_pool=pool))


def begin(folder, *flags, script="async_train.py", **options):
  """Starts a run in `folder`/run, in a process group of its own."""
  path = folder / "settings.json"
  path.write_text(json.dumps(SMALL))
  return start(script, f"--config={path}", f"--model_dir={folder / 'run'}", *flags, cwd=folder,
               start_new_session=True, **options)


def rows(folder):
  path = folder / "run" / "metrics.jsonl"
  return (
    [json.loads(line) for line in path.read_text().splitlines(True) if line[-1] == "\n"]
    if path.exists()
    else []
  )


def all_craft(folder):
  """Whether every worker has contributed to the last line of the metrics."""
  return rows(folder) and min(rows(folder)[-1].get("crafted_per_second", [0])[1:], default=0) > 0


def restarts(folder):
  return rows(folder)[-1]["restarts"]


def workers_of(process):
  children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
  return [
    int(pid) for pid in children if "spawn_main" in pathlib.Path(f"/proc/{pid}/cmdline").read_text()
  ]


def blocks_ctrl_c(pid):
  status = dict(
    line.split(":", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
  )
  return bool(int(status["SigBlk"], 16) >> signal.SIGINT - 1 & 1)


def alive(pid):
  with contextlib.suppress(OSError):
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
  return False


def newest(folder):
  """The newest checkpoint; every step up to it has consumed one ticket, and none twice."""
  checkpoint = checkpoints.read_newest(str(folder))
  returned = checkpoint.arrays["tickets/returned"]
  assert (
    len(set(returned))
    == len(returned)
    == checkpoint.arrays["tickets/next_ticket"] - checkpoint.step
  )
  return checkpoint


DRIVER = """
import os
from tf_madry import cli
from tf_madry.asynchronous.local import placement

class Told(placement.Placement):
  def apply(self):
    import sys
    assert "tensorflow" not in sys.modules
    super().apply()
    import tensorflow as tf
    threading = tf.config.threading
    print("place", os.environ["CUDA_VISIBLE_DEVICES"], threading.get_intra_op_parallelism_threads(),
          threading.get_inter_op_parallelism_threads(), flush=True)

placement.Placement = Told

if __name__ == "__main__":
  import async_train
  cli.run(async_train.main)
"""


def driver(folder):
  """Writes an async_train.py whose processes tell where they are; returns its path."""
  path = folder / "driver.py"
  path.write_text(DRIVER)
  return path


def places_told(output):
  return sorted(line for line in output.splitlines() if line.startswith("place"))
