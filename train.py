"""Trains a robust model (Eq. 6); the paper's settings unless flags, a recipe or a config file say otherwise.

    python train.py --k 8
"""

from absl import flags

from tf_madry import cli

cli.define_training_flags()


def main():
  """Returns the exit code."""
  config = cli.training_config()
  cli.load_tensorflow()
  from tf_madry import staleness, training
  try:
    training.train(config, resume=flags.FLAGS.resume, make_source=staleness.source)
  except training.Stopped as stopped:
    return stopped.exit_code
  return 0


if __name__ == "__main__":
  cli.run(main)
