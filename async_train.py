"""Trains as train.py does, with workers that craft while the trainer learns (§5).

    python async_train.py --workers 7
"""

from absl import flags

from tf_madry import cli
from tf_madry.asynchronous.run import run
from tf_madry.settings import RELOAD_FROM

cli.define_training_flags()
flags.DEFINE_integer("workers", None, "processes that craft for the trainer; 0: synchronous "
                     "training (1; paper: 0 to 7)")
flags.DEFINE_integer("queue_size", None, "finished batches that may wait for the trainer (16)")
flags.DEFINE_integer("reload_every", None,
                     "steps between snapshots of the weights for the workers (paper: 100)")
flags.DEFINE_enum("reload_from", None, RELOAD_FROM, "where workers get them: files of the model "
                  "directory, or memory (checkpoint; with --max_staleness or --cluster memory)")
flags.DEFINE_integer("max_staleness", None,
                     "never train on a batch whose weights are more steps behind (no bound)")
flags.DEFINE_boolean("trainer_assist", None, "let the trainer craft while the queue is empty (yes)")
flags.DEFINE_string("cluster", None, "of Ray, for the workers: host:port, auto, or local to start "
                    "one here (processes of this machine)")
flags.DEFINE_string("worker_resources", None,
                    "that a worker takes of the cluster, as '{\"GPU\": 1}' (a GPU, or a core)")
flags.DEFINE_string("devices", None, "GPUs to use, as 0,2,5; the first is the trainer's (all)")


def main() -> int:
  """Returns the exit code."""
  return run(cli.training_config(), resume=flags.FLAGS.resume)


if __name__ == "__main__":
  cli.run(main)
