"""Accuracy of a trained model, natural and under attack; the MNIST challenge's attack files and
leaderboard.

    python eval.py --model_dir models/paper --attack pgd --k 40 --alpha 0.01
    python eval.py --attack suite --num_examples 1000
    python eval.py --attack_file attack.npy
"""

import dataclasses
import itertools
import os
import sys

from absl import flags

from tf_madry import cli
from tf_madry.errors import UserError, require

FLAGS = flags.FLAGS
ENSEMBLES = ("suite", "quick")  # as in `attacks.ENSEMBLES`, which takes TensorFlow
SETTINGS = ("loss", "k", "alpha", "epsilon", "random_start", "queries")
# What each way of evaluating has a use for.
ATTACK = {"attack", *SETTINGS, "restarts", "seed", "num_examples", "examples",
          "split", "model_dir", "batch_size"}
MODES = {
    "attack": {*ATTACK, "checkpoint", "dataset", "source", "save_attack", "record", "json",
               "epsilons", "plot"},
    "watch": {*ATTACK, "watch"},
    "attack_file": {"attack_file", "predictions", "epsilon", "model_dir", "checkpoint",
                    "dataset", "batch_size", "json"},
    "export": {"export", "model_dir", "checkpoint"},
    "leaderboard": {"leaderboard", "markdown", "epsilon", "seed", "dataset", "num_examples",
                    "examples", "split", "source", "model_dir", "checkpoint", "batch_size",
                    "record", "json"},
    "certify": {"certify", "epsilon", "num_examples", "examples", "split", "model_dir",
                "checkpoint", "dataset", "batch_size", "json"},
}
OUTPUTS = ("export", "json", "plot", "save_attack", "predictions", "markdown")

flags.DEFINE_string("model_dir", "models/paper",
                    "a directory that train.py wrote, or one of the challenge's models")
flags.DEFINE_string("checkpoint", None,
                    "instead of the newest of --model_dir: a checkpoint, ours or TF1, any "
                    "Keras model (.keras, .h5, a SavedModel's folder), or pretrained/NAME")
flags.DEFINE_string("dataset", None, "what it classifies (as in training; a Keras model's: mnist)")
flags.DEFINE_string("attack", "pgd",
                    "fgsm, pgd, multitargeted, apgd, apgd_t, square, suite, or quick")
flags.DEFINE_string("loss", None, "what the attack increases: xent, cw or dlr (as in training)")
flags.DEFINE_integer("k", None, "steps of the attack (fgsm, pgd: as in training; others: 100)")
flags.DEFINE_float("alpha", None, "size of a step (as in training)")
flags.DEFINE_float("epsilon", None, "radius of the ball (as in training)")
flags.DEFINE_boolean("random_start", None, "start from a random point of the ball (as in training)")
flags.DEFINE_integer("queries", None, "queries of square (5,000)")
flags.DEFINE_integer("restarts", 1, "how often to run the attack on what still stands")
flags.DEFINE_integer("seed", 0, "of the attack")
flags.DEFINE_integer("num_examples", None, "how many examples of the split (all)")
flags.DEFINE_string("examples", "spread",
                    "those of --num_examples: spread over the split, or first")
flags.DEFINE_string("split", "test", "test, validation or train")
flags.DEFINE_integer("batch_size", 200, "examples at a time")
flags.DEFINE_multi_string("source", [],
                          "craft on this model instead (black-box); --leaderboard takes several")
flags.DEFINE_string("save_attack", None,
                    "write the attacked test images to this .npy file, for the challenge")
flags.DEFINE_string("attack_file", None, "verify and evaluate a .npy file of attacked test images")
flags.DEFINE_string("predictions", "pred.npy", "where --attack_file writes what the model saw")
flags.DEFINE_boolean("leaderboard", False, "run the rows of the challenge's white-box leaderboard")
flags.DEFINE_boolean("certify", False,
                     "count what no attack can change, by interval bounds: a proof, "
                                       "where the model was trained for it")
flags.DEFINE_string("record", None, "where the suite and the leaderboard keep what they found "
                                    "(the model directory)")
flags.DEFINE_string("markdown", None, "write the leaderboard to this file as well")
flags.DEFINE_string("json", None, "write the result to this file as well")
flags.DEFINE_string("epsilons", None, "run the attack at each of these, as in 0,0.05,0.1")
flags.DEFINE_string("plot", None, "draw images, perturbations and what the model says, or with "
                                  "--epsilons accuracy against ε, to this .png file")
flags.DEFINE_string("export", None,
                    "write the network to this .keras file, in layers of Keras alone")
flags.DEFINE_boolean("watch", False, "evaluate each new checkpoint as it appears, until Ctrl-C")


def main():
  """Returns the exit code."""
  mode = check_flags()
  cli.load_tensorflow()
  from tf_madry.evaluation import load, report, watch
  from tf_madry.models import loading
  choice = load.Choice(split=FLAGS.split, num_examples=FLAGS.num_examples, examples=FLAGS.examples)
  if mode == "watch":
    watch.watch(FLAGS.model_dir, prepare_watch, choice, seed=FLAGS.seed)
    return 0
  if FLAGS.save_attack and FLAGS.num_examples is not None:
    from tf_madry import checkpoints
    home = checkpoints.home(FLAGS.checkpoint) if FLAGS.checkpoint else FLAGS.model_dir
    whole = len(load.Choice().of(load.run_config(home).training.dataset))
    require(FLAGS.num_examples == whole, "save_attack", FLAGS.save_attack,
            f"only with the whole test split: without --num_examples, or with {whole}")
  loaded = loading.load_model(FLAGS.checkpoint or FLAGS.model_dir, FLAGS.dataset)
  if mode == "export":
    return run_export(loaded)
  for note in getattr(loaded.model, "notes", []):
    say(f"note: {note}")
  sources = [load.load_source(path, loaded) for path in dict.fromkeys(FLAGS.source)]
  split = choice.of(loaded.config.training.dataset)
  title = report.title(loaded, choice.text(len(split)), FLAGS.seed, sources)
  run = {"attack": run_attack, "attack_file": run_attack_file, "leaderboard": run_leaderboard,
         "certify": run_certify}[mode]
  if FLAGS.epsilons:
    run = run_curve
  result, lines = run(loaded, split, sources, title)
  # Before anything is said: a result is not to be lost with a terminal that goes.
  if FLAGS.json:
    settings = {name: FLAGS[name].value for name in ("seed", "batch_size") if name in MODES[mode]}
    report.write_json(FLAGS.json, result, loaded, choice, sources, **settings)
  say("\n".join(lines))
  return 0


def check_flags():
  """Returns the name of the way of evaluating; `UserError` for flags that cannot be used, or not
  together."""
  modes = [mode for mode in MODES if mode != "attack" and FLAGS[mode].value not in (None, False)]
  require(len(modes) <= 1, "flags", " ".join(f"--{mode}" for mode in modes), "one of them")
  mode = modes[0] if modes else "attack"
  for name in sorted(set().union(*MODES.values()) - MODES[mode]):
    if FLAGS[name].present:
      homes = " and ".join(f"--{home}" for home in MODES if name in MODES[home])
      raise UserError(f"--{name} goes with {homes}, not with --{mode}")
  require(FLAGS.batch_size >= 1, "batch_size", FLAGS.batch_size,
          "a whole number of examples, at least 1")
  require(FLAGS.restarts >= 1, "restarts", FLAGS.restarts, "a whole number, at least 1")
  require(0 <= FLAGS.seed < 2**31, "seed", FLAGS.seed, f"a whole number from 0 to {2**31 - 1}")
  require(FLAGS.restarts == 1 or FLAGS.attack not in ENSEMBLES, "restarts", FLAGS.restarts,
          f"1 with --attack {FLAGS.attack}")
  require(len(FLAGS.source) <= 1 or mode == "leaderboard", "source", ", ".join(FLAGS.source),
          "one model")
  require(FLAGS.split == "test" or not FLAGS.save_attack, "save_attack", FLAGS.save_attack,
          "only with the whole test split")
  require(FLAGS.record is None or mode == "leaderboard" or FLAGS.attack in ENSEMBLES, "record",
          FLAGS.record, "a folder, with --attack suite or quick, and with --leaderboard")
  if FLAGS.epsilons is not None:
    epsilons()
  require(not (FLAGS.epsilons and FLAGS.save_attack), "save_attack", FLAGS.save_attack,
          "only without --epsilons")
  require(FLAGS.plot is None or FLAGS.plot.endswith(".png"), "plot", FLAGS.plot,
          "a file whose name ends in .png")
  require(FLAGS.export is None or FLAGS.export.endswith(".keras"), "export", FLAGS.export,
          "a file whose name ends in .keras")
  require(FLAGS.attack_file != "", "attack_file", FLAGS.attack_file, "the path of a .npy file")
  paths = {name: FLAGS[name].value for name in (*OUTPUTS, "attack_file")
           if name in MODES[mode] and FLAGS[name].value is not None}
  for name in [name for name in paths if name in OUTPUTS]:
    require(can_write(paths[name]), name, paths[name],
            "a file in a directory that exists and can be written, no device or pipe")
    if os.path.islink(paths[name]):  # the link stays, what it points at is written
      FLAGS[name].value = os.path.realpath(paths[name])
  for one, other in itertools.combinations(paths, 2):
    same = os.path.realpath(paths[one]) == os.path.realpath(paths[other])
    require(not same, one, paths[one], f"another file than --{other}")
  return mode


def epsilons():
  """The values of --epsilons in rising order."""
  try:
    values = sorted({float(part) for part in FLAGS.epsilons.split(",")})
  except ValueError as error:
    raise UserError(f"epsilons is {FLAGS.epsilons!r}, accepted: numbers from 0 to 1 with commas "
                    "between them") from error
  require(all(0 <= value <= 1 for value in values), "epsilons", FLAGS.epsilons,
          "numbers from 0 to 1")
  return values


def can_write(path):
  """Whether a file can be put at a path; not in place of a device or a pipe."""
  folder = os.path.dirname(os.path.realpath(path))
  return (os.path.basename(path) != "" and os.path.isdir(folder)
          and os.access(folder, os.W_OK | os.X_OK)
          and (os.path.isfile(path) or not os.path.exists(path)))


def make_attack(config, target=None, **more):
  """The attack that the flags and, where they say nothing, a model's `Config` ask for; `target` as
  in `Restarts`."""
  from tf_madry import attacks
  given = {name: FLAGS[name].value for name in SETTINGS if FLAGS[name].value is not None}
  return attacks.make(FLAGS.attack, given | more, dataclasses.asdict(config.evaluation_attack),
                      restarts=FLAGS.restarts, target=target)


def prepare_watch(config):
  """What measures a checkpoint of a run with that config, from (`LoadedModel`, `Split`) to
  `accuracy.Result`."""
  from tf_madry.evaluation import accuracy, suite
  attack = make_attack(config)
  run = suite.evaluate if FLAGS.attack in ENSEMBLES else accuracy.run
  return lambda loaded, split: run(loaded, attack, split, batch_size=FLAGS.batch_size,
                                   seed=FLAGS.seed)


def epsilon_of(config):
  """ε by --epsilon, or as in training."""
  given = {} if FLAGS.epsilon is None else {"epsilon": FLAGS.epsilon}
  return dataclasses.replace(config.evaluation_attack, **given).epsilon


def run_attack(loaded, split, sources, title):
  """One attack, or an ensemble; returns its result, and what there is to say of it."""
  import numpy as np

  from tf_madry.evaluation import accuracy, attack_files, suite
  attack = make_attack(loaded.config, target=loaded.model)
  how = {"source": next(iter(sources), None), "batch_size": FLAGS.batch_size, "seed": FLAGS.seed}
  if FLAGS.attack in ENSEMBLES:
    say(f"{title}; {attack}")
    result, adversarial = suite.run(loaded, attack, split, **how, say=say,
                                    folder=record_folder(loaded, FLAGS.attack))
    lines = [*suite.lines(result, FLAGS.attack)]
  else:
    wanted = FLAGS.save_attack or FLAGS.plot
    adversarial = np.empty(split.images.shape, np.float32) if wanted else None
    result = accuracy.run(loaded, attack, split, **how, adversarial=adversarial)
    lines = [*accuracy.lines(result, title)]
  if FLAGS.save_attack:
    attack_files.write_attack(FLAGS.save_attack, adversarial)
    lines.append(f"saved {FLAGS.save_attack}")
  if FLAGS.plot:
    from tf_madry.evaluation import pictures
    pictures.draw_attack(FLAGS.plot, loaded.model, split, adversarial, f"{title}\n{attack}")
    lines.append(f"saved {FLAGS.plot}")
  return result, lines


def run_curve(loaded, split, sources, title):
  """One attack at every ε of --epsilons; returns as `run_attack`."""
  from tf_madry.evaluation import curve, pictures
  say(f"{title}; {make_attack(loaded.config, target=loaded.model)}, at each ε")
  result = curve.run(
      loaded, lambda epsilon: make_attack(loaded.config, target=loaded.model, epsilon=epsilon),
      epsilons(), split, source=next(iter(sources), None),
      batch_size=FLAGS.batch_size, seed=FLAGS.seed, say=say)
  lines = [*curve.lines(result)]
  if FLAGS.plot:
    pictures.draw_curve(FLAGS.plot, result, title)
    lines.append(f"saved {FLAGS.plot}")
  return result, lines


def run_attack_file(loaded, split, sources, title):
  """The challenge's run_attack; returns as `run_attack`."""
  from tf_madry.evaluation import attack_files
  result, perturbed, predictions = attack_files.evaluate_file(
      loaded, FLAGS.attack_file, split, epsilon_of(loaded.config), batch_size=FLAGS.batch_size)
  attack_files.write_predictions(FLAGS.predictions, predictions)
  return result, [*attack_files.lines(result, perturbed), f"saved {FLAGS.predictions}"]


def run_leaderboard(loaded, split, sources, title):
  """The standard rows, beside the published ones; returns as `run_attack`."""
  from tf_madry.evaluation import leaderboard
  say(title)
  result = leaderboard.run(loaded, split, epsilon_of(loaded.config), sources=sources,
                           batch_size=FLAGS.batch_size, seed=FLAGS.seed, say=say,
                           folder=record_folder(loaded, "leaderboard"))
  if FLAGS.markdown:
    leaderboard.write_markdown(FLAGS.markdown, result, title)
  return result, leaderboard.lines(result)


def run_certify(loaded, split, sources, title):
  """Interval bounds; returns as `run_attack`."""
  from tf_madry.evaluation import bounds
  require(getattr(loaded.model, "network", loaded.model), "model", loaded.path,
          "one whose layers Keras knows, for --certify: of ours, .keras or .h5")
  result = bounds.certify(loaded.model, split, epsilon_of(loaded.config),
                          batch_size=FLAGS.batch_size)
  return result, [title, *bounds.lines(result)]


def run_export(loaded):
  """Writes the network as a Keras file that loads without this package; returns the exit code."""
  from tf_madry.models import plain
  require(hasattr(loaded.model, "layers"), "model", loaded.path,
          "a network of ours, for --export: what others wrote loads without this package as it is")
  plain.write(FLAGS.export, loaded.model)
  say(f"saved {FLAGS.export}")
  return 0


def record_folder(loaded, name):
  """Where the record is kept: as --record says, or in the model directory; None: nowhere."""
  from tf_madry.runtime import files
  folder = FLAGS.record or os.path.join(loaded.home, name)
  if FLAGS.record or files.can_hold(folder):
    return folder
  print(f"note: {folder!r} cannot be written: no record is kept, and a stop loses all; --record "
        "takes another folder", file=sys.stderr)
  return None


def say(text):
  """Prints text at once, whatever output goes to."""
  print(text, flush=True)


if __name__ == "__main__":
  cli.run(main)
