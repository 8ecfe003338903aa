"""What the three scripts share: flags, one-line errors, exit codes, a quiet TensorFlow."""

import contextlib
import dataclasses
import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import TypeVar

from absl import app, flags

from tf_madry import config as configs
from tf_madry import settings
from tf_madry.errors import UserError
from tf_madry.recipes import RECIPES, within
from tf_madry.runtime import numerics, output, posix

T = TypeVar("T")
FLAGS = flags.FLAGS
flags.disclaim_key_flags()  # they are those of the script that asks for them, and in its --help
ERROR_CODE = 2
UNTIMED = ("staleness", "staleness_reload", "strategy")  # settings that go without `--minutes`

# What TensorFlow prints on any machine without a GPU, whatever its log level.
NOISE = re.compile(
    rb"absl::InitializeLog|oneDNN custom operations|Could not find cuda drivers|failed call to cuInit"
    rb"|rebuild TensorFlow with the appropriate compiler flags|optimized to use available CPU")


def define_training_flags() -> None:
  """The flags of a training run; None stands for "not given", see `config.resolve`."""
  flags.DEFINE_integer("k", None,
                       "PGD steps κ of the attack that training defends against (paper: 8)")
  flags.DEFINE_float("epsilon", None,
                     "radius of the ℓ∞ ball, in units of the pixel range (paper: 0.3)")
  flags.DEFINE_float("alpha", None, "size of a PGD step (paper: 2.5 ε/κ)")
  flags.DEFINE_boolean("random_start", None,
                       "start PGD from a random point of the ball (paper: yes)")
  flags.DEFINE_enum("loss", None, list(settings.AttackConfig.losses),
                    "what the attack increases (paper: xent)")
  flags.DEFINE_integer("steps", None, "training steps (paper: 60,000)")
  flags.DEFINE_integer("batch_size", None, "examples a step (paper: 128)")
  flags.DEFINE_float("learning_rate", None, "of Adam, its peak where it follows a schedule "
                     "(paper and challenge: 1e-4; others 1e-3)")
  flags.DEFINE_integer("base_batch", None, "examples of the batch that --learning_rate is for, from "
                       "which it grows with --batch_size (0: it does not)")
  flags.DEFINE_enum("rate_scaling", None, settings.CHOICES["rate_scaling"],
                    "whether with batch_size / base_batch, or with its root (linear)")
  flags.DEFINE_float("warmup", None, "share of the steps over which it grows to that (0)")
  flags.DEFINE_enum("strategy", None, settings.STRATEGIES, "of tf.distribute, over whose devices a "
                    "batch is split: all GPUs of this machine, or of the machines in TF_CONFIG (none)")
  flags.DEFINE_integer("cpu_devices", None, "parts that the CPU counts as, to try --strategy "
                       "mirrored without GPUs: nothing gets faster (0: off)")
  flags.DEFINE_integer("seed", None, "of initial weights, batches and random starts (0)")
  flags.DEFINE_string("dataset", None, "mnist, or tfds:NAME of an image classification set in "
                      "tensorflow-datasets")
  flags.DEFINE_string("model_dir", None,
                      "where to write; a run that is there goes on (models/<recipe>)")
  flags.DEFINE_enum("recipe", None, list(RECIPES), "a set of settings by name (paper); quick: the "
                    "paper's in a tenth of its steps, certified: with a proof")
  flags.DEFINE_integer("staleness", None, "steps from the crafting of a batch to the training on "
                       "it, simulated (§5; 0)")
  flags.DEFINE_integer("staleness_reload", None, "steps between renewals of the weights that "
                       "craft, simulated as §5's workers reload them (0: off)")
  flags.DEFINE_enum("precision", None, settings.CHOICES["precision"],
                    "of forward and backward passes; weights, optimizer and projection are always "
                    "float32 (float32; quick, long, fast, certified: what is quicker here)")
  flags.DEFINE_string("config", None, "a config.json, ours or the challenge's")
  flags.DEFINE_integer("checkpoint_every", None, "steps between checkpoints (300)")
  flags.DEFINE_integer("eval_every", None, "steps between evaluations on the validation split, 0 "
                       "for none (1,000)")
  flags.DEFINE_boolean("resume", True, "go on with the run in --model_dir; --noresume refuses to "
                       "if there is one")


def training_config(minutes: float | None = None) -> configs.Config:
  """The `Config` that flags, recipe, config file and paper make; prints what there is to notice.

  Args:
    minutes: how long the run is to take, which chooses the recipe where neither a flag nor a file
      does; None: that is open, and it is the paper's.
  """
  given = {name: FLAGS[name].value for name in configs.FIELDS
           if name in FLAGS and FLAGS[name].value is not None}
  recipe, chosen = given.pop("recipe", None), []
  # Not before what is refused together with minutes has been.
  if minutes and not recipe and not FLAGS.config and not set(UNTIMED) & set(given):
    attacks = {field.name for field in dataclasses.fields(settings.AttackConfig)} - {"epsilon"}
    recipe = within(minutes, paper=bool(attacks & set(given))
                    or given.get("dataset", "mnist") != "mnist")
    chosen = [f"recipe {recipe}, for {minutes:g} minutes; --recipe names another"]
  config, notices = configs.resolve(given, recipe, FLAGS.config)
  for notice in chosen + notices:
    print(f"note: {notice}", file=sys.stderr)
  return config


def run(main: Callable[..., int | None], *, takes_names: bool = False) -> None:
  """Runs a script under absl: an error is one line and exit code 2, a signal has its own exit code.

  Who prints to a reader that has gone (`… | head`) ends without a word, as if by SIGPIPE.

  Args:
    main: called without arguments, or with the list of what is no flag; returns the exit code.
    takes_names: whether there may be anything but flags on the command line.
  """
  def parse(argv):
    try:
      rest = FLAGS(argv)
    except flags.Error as error:
      _fail(error)
    if len(rest) > 1 and not takes_names:
      _fail(f"argument {rest[1]!r} is not a flag; --help lists them")
    return rest

  def guarded(argv):
    try:
      code = main(argv[1:]) if takes_names else main()
      sys.stdout.flush()
      sys.exit(code)
    except UserError as error:
      _fail(error)
    except OSError as error:
      _leave_if_nobody_reads(error)
      _fail(error)
    except KeyboardInterrupt:
      sys.exit(128 + signal.SIGINT)

  try:
    posix.require_posix()
  except UserError as error:
    _fail(error)
  output.settle()
  signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(128 + signum))
  try:
    app.run(guarded, flags_parser=parse)
  except OSError as error:  # of --help, before the script begins
    _leave_if_nobody_reads(error)
    _fail(error)


def _leave_if_nobody_reads(error):
  if isinstance(error, BrokenPipeError) and output.nobody_reads():
    output.give_up()
    sys.exit(128 + signal.SIGPIPE)


def _fail(message):
  output.fail(message)
  output.give_up()
  sys.exit(ERROR_CODE)


def load_tensorflow(threads: int | None = None,
                    choose_devices: Callable[[], T] = lambda: None) -> T:
  """Imports TensorFlow without its usual greetings; everything else it prints is passed on.

  Scripts call it once their flags are known to be good: it takes seconds.

  Args:
    threads: how many threads of the CPU it may use; None: as many as there are cores.
    choose_devices: called before it has looked at its devices, when that can still be said.

  Returns:
    What `choose_devices` returned.
  """
  numerics.settle_environment()
  with _without_noise():
    import tensorflow as tf
    if threads:
      tf.config.threading.set_intra_op_parallelism_threads(threads)
      tf.config.threading.set_inter_op_parallelism_threads(threads)
    chosen = choose_devices()
    tf.config.list_logical_devices()
    # An attack meets other models, and as images fall other batch sizes: that is no mistake.
    tf.get_logger().addFilter(
        lambda record: "triggered tf.function retracing" not in record.getMessage())
  return chosen


@contextlib.contextmanager
def _without_noise() -> Iterator[None]:
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
  sys.stderr.flush()
  original = os.dup(2)
  with tempfile.TemporaryFile() as caught:
    os.dup2(caught.fileno(), 2)
    try:
      yield
    finally:
      sys.stderr.flush()
      os.dup2(original, 2)
      os.close(original)
      caught.seek(0)
      for line in caught:
        if not NOISE.search(line):
          os.write(2, line)
