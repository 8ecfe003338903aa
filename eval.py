"""Natural and adversarial accuracy of a trained model.

    python eval.py --model_dir models/paper --attack pgd --k 40 --alpha 0.01
"""

import dataclasses
import os

from absl import flags

from tf_madry import cli
from tf_madry.errors import require

FLAGS = flags.FLAGS
ATTACK_SETTINGS = ("loss", "k", "alpha", "epsilon", "random_start")

flags.DEFINE_string("model_dir", "models/paper", "a directory that train.py wrote")
flags.DEFINE_string("checkpoint", None, "one checkpoint file, instead of the newest of --model_dir")
flags.DEFINE_string("attack", "pgd", "fgsm or pgd")
flags.DEFINE_string("loss", None, "what the attack increases: xent or cw (as in training)")
flags.DEFINE_integer("k", None, "steps of the attack (as in training)")
flags.DEFINE_float("alpha", None, "size of a step (as in training)")
flags.DEFINE_float("epsilon", None, "radius of the ball (as in training)")
flags.DEFINE_boolean("random_start", None, "start from a random point of the ball (as in training)")
flags.DEFINE_integer("restarts", 1, "how often to run the attack on what still stands")
flags.DEFINE_integer("seed", 0, "of the attack")
flags.DEFINE_integer("num_examples", None, "the first n examples of the split (all)")
flags.DEFINE_string("split", "test", "test, validation or train")
flags.DEFINE_integer("batch_size", 200, "examples at a time")
flags.DEFINE_string("json", None, "write the result to this file as well")
flags.DEFINE_boolean("watch", False, "evaluate each new checkpoint as it appears, until Ctrl-C")


def main():
  """Returns the exit code."""
  require(FLAGS.batch_size >= 1, "batch_size", FLAGS.batch_size, "a whole number of examples, at least 1")
  require(FLAGS.restarts >= 1, "restarts", FLAGS.restarts, "a whole number, at least 1")
  if FLAGS.json:
    folder = os.path.dirname(FLAGS.json) or "."
    require(os.path.isdir(folder), "json", FLAGS.json, "a file in a directory that exists")
  cli.load_tensorflow()
  from tf_madry import attacks, checkpoints, evaluation

  def make_attack(config):
    given = {name: FLAGS[name].value for name in ATTACK_SETTINGS if FLAGS[name].value is not None}
    return attacks.make(FLAGS.attack, given, dataclasses.asdict(config.attack), restarts=FLAGS.restarts)

  how = {"batch_size": FLAGS.batch_size, "seed": FLAGS.seed}
  if FLAGS.watch:
    require(not FLAGS.checkpoint, "checkpoint", FLAGS.checkpoint, "only a --model_dir together with --watch")
    evaluation.watch(FLAGS.model_dir, make_attack, FLAGS.split, FLAGS.num_examples, **how)
    return 0
  loaded = checkpoints.load_model(FLAGS.checkpoint or FLAGS.model_dir)
  attack = make_attack(loaded.config)
  split = evaluation.choose_split(loaded.config.training.dataset, FLAGS.split, FLAGS.num_examples)
  result = evaluation.evaluate(loaded, attack, split, **how)
  print("\n".join(evaluation.lines(result, loaded, FLAGS.split)))
  if FLAGS.json:
    evaluation.write_json(FLAGS.json, result, loaded, FLAGS.split)
  return 0


if __name__ == "__main__":
  cli.run(main)
