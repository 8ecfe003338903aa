"""Trains as train.py does, with worker processes that craft while the trainer learns (§5).

    python async_train.py --workers 7
"""

import functools
import sys

from absl import flags

from tf_madry import cli
from tf_madry.asynchronous.local.placement import placements
from tf_madry.errors import require

cli.define_training_flags()
flags.DEFINE_integer("workers", None, "processes that craft for the trainer; 0: synchronous training (1; paper: 0 to 7)")
flags.DEFINE_integer("queue_size", None, "finished batches that may wait for the trainer (16)")
flags.DEFINE_integer("reload_every", None, "steps between snapshots of the weights for the workers (paper: 100)")
flags.DEFINE_integer("max_staleness", None, "never train on a batch whose weights are more steps behind (no bound)")
flags.DEFINE_boolean("trainer_assist", None, "let the trainer craft while the queue is empty (yes)")
flags.DEFINE_string("devices", None, "GPUs to use, as 0,2,5; the first is the trainer's (all)")


def main():
  """Returns the exit code."""
  config = cli.training_config()
  staleness = config.training.staleness
  require(not staleness, "staleness", staleness, "0 in async_train.py, which measures it; train.py simulates it")
  reload = config.training.staleness_reload
  require(not reload, "staleness_reload", reload, "0 in async_train.py, whose workers reload; train.py simulates it")
  workers = config.asynchronous.workers
  require(not (config.training.replay and workers), "workers", workers,
          "0 in a recipe that replays its batches: they are trained on while they are crafted")
  (trainers, *workers), notices = placements(config.asynchronous)
  for notice in notices:
    print(f"note: {notice}", file=sys.stderr)
  trainers.apply()
  from tf_madry.asynchronous import trainer
  from tf_madry.training import loop
  source = functools.partial(trainer.Asynchronous, places=workers) if workers else loop.Synchronous
  try:
    loop.train(config, resume=flags.FLAGS.resume, make_source=source)
  except loop.Stopped as stopped:
    return stopped.exit_code
  return 0


if __name__ == "__main__":
  cli.run(main)
