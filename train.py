"""Trains a robust model (Eq. 6), as the paper does unless flags, a recipe or a file say otherwise.

    python train.py --k 8
"""

import functools
import time

from absl import flags

from tf_madry import cli
from tf_madry.errors import require
from tf_madry.training import distributed

cli.define_training_flags()
flags.DEFINE_float("minutes", None, "make the run as long as fits into so many, start included, at "
                   "the measured speed; without --recipe and --config, it is fast, or from 7 on quick")


def main() -> int:
  """Returns the exit code."""
  began, minutes = time.monotonic(), flags.FLAGS.minutes
  require(minutes is None or 0 < minutes < float("inf"), "minutes", minutes, "a number above 0")
  require(minutes is None or flags.FLAGS.steps is None, "minutes", minutes,
          "nothing when --steps is given")
  config = cli.training_config(minutes)
  stale = config.training.staleness or config.training.staleness_reload
  require(minutes is None or not stale, "minutes", minutes, "nothing when there is a staleness")
  split = config.distribution.strategy != "none"
  require(minutes is None or not split, "minutes", minutes, "nothing when there is a strategy")
  if split:
    return distributed.run(config, cli.load_tensorflow, resume=flags.FLAGS.resume)
  cli.load_tensorflow()
  from tf_madry.training import loop, pacing, staleness
  choose_steps = minutes and functools.partial(pacing.steps_within, minutes=minutes, began=began)
  try:
    loop.train(config, resume=flags.FLAGS.resume, make_stepper=staleness.stepper,
               choose_steps=choose_steps)
  except loop.Stopped as stopped:
    return stopped.exit_code
  return 0


if __name__ == "__main__":
  cli.run(main)
