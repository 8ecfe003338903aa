"""Runs a study: `python -m tf_madry.studies power --scale 0.03`, or `… report` for a report of all that were run."""

import importlib
import os

from absl import flags

from tf_madry import cli
from tf_madry import config as configs
from tf_madry.errors import UserError, require
from tf_madry.studies import STUDIES

REPORT = "report"

flags.DEFINE_float("scale", None, "size: 1 for the paper's 60,000 steps (0.1)")
flags.DEFINE_string("out", "studies", "folder for networks, numbers and plots; what is there is not done again")
flags.DEFINE_integer("seed", None, "of training and evaluation (0)")
flags.DEFINE_boolean("plot_only", False, "draw again what was measured; other flags may only say what was measured with")
flags.DEFINE_enum("precision", None, configs.CHOICES["precision"],
                  "of training (float32 at the paper's size, below it what is quicker here)")
flags.DEFINE_list("k_list", None, "attackers' power κ (1,4,8,128; below the paper's size 1,2,4,8,32)")
flags.DEFINE_list("s_list", None, "staleness (0 and 1 to 1024 in powers of two; below the paper's size 0,16,32,48,64,128)")
flags.DEFINE_list("rates", None, "learning rates; the first for everything, the others to see where staleness breaks "
                                 "training (1e-4,4e-4; below the paper's size 1e-3,2.5e-4)")
flags.DEFINE_list("r_list", None, "steps between renewals of the weights that craft, of `reload` (1,10,32,64,100,200)")
flags.DEFINE_list("constant_rates", None, "learning rates of `takeoff` (1e-4,3e-4,1e-3)")
flags.DEFINE_integer("seeds", None, "how many seeds `takeoff` goes on with (2)")
flags.DEFINE_float("long", None, "times its steps that the long run of `cycles` takes, 0 for none (5; below the paper's size 0)")
flags.DEFINE_integer("slice", None, "training steps by which `headline` extrapolates recipes that take hours (100)")
flags.DEFINE_integer("headline_n", None, "test images that `headline` attacks, up to 10,000 (1,000)")
flags.DEFINE_float("t_adv", None, "seconds to craft a batch, for the simulation in `speedup` (measured)")
flags.DEFINE_float("t_train", None, "seconds to train on one (measured)")


def main(names):
  """Runs the study of this name; returns the exit code."""
  accepted = ", ".join((*STUDIES, REPORT))
  require(len(names) == 1 and names[0] in (*STUDIES, REPORT), "study", " ".join(names), f"one of {accepted}")
  name, out = names[0], flags.FLAGS.out
  given = {option: flags.FLAGS[option].value for option in ("scale", "seed", "precision", "long", "slice",
                                                             "seeds", "headline_n", "t_adv", "t_train")}
  given |= {option: _numbers(option, kind) for option, kind in (
    ("k_list", int), ("s_list", int), ("r_list", int), ("rates", float), ("constant_rates", float))}
  cli.load_tensorflow()
  from tf_madry.studies.lab import networks
  from tf_madry.studies.output import outcomes, report
  from tf_madry.training import loop
  if name == REPORT:
    print(report.write(out))
    return 0
  study = importlib.import_module(f"tf_madry.studies.{name}")
  chosen = networks.options(**given)
  settings = {option: getattr(chosen, option) for option in ("scale", "seed", "precision", *study.OPTIONS)}
  settings = {option: list(value) if isinstance(value, tuple) else value for option, value in settings.items()}
  if flags.FLAGS.plot_only:
    of = {"learning_rate": "rates"}  # the flag that a setting comes from, where that has another name
    outcomes.check(out, name, {option: value for option, value in settings.items()
                               if given[of.get(option, option)] is not None})
  else:
    try:
      _measure(name, study, out, chosen, settings | {"batch_size": configs.Config().training.batch_size})
    except loop.Stopped as stopped:
      return stopped.exit_code
    except KeyboardInterrupt:
      print("stopped; the same command goes on from here")
      raise
  found = outcomes.load(out, name)
  findings = outcomes.findings(out, name, found)
  outcomes.present(out, findings, found.settings)
  print("\n".join(outcomes.markdown(name, found, findings)))
  return 0


def _numbers(option, kind):
  texts = flags.FLAGS[option].value
  try:
    return texts and tuple(map(kind, texts))
  except ValueError as error:
    raise UserError(f"{option} is {','.join(texts)!r}, accepted: numbers with commas between them") from error


def _measure(name, study, out, chosen, settings):
  from tf_madry.studies.lab import cache, machines
  from tf_madry.studies.lab.networks import Lab
  from tf_madry.studies.output import outcomes
  cache.prepare(out)
  outcomes.check(out, name, settings)
  lab = Lab(out, chosen)
  data = study.measure(lab)
  # Measurements from before machines were recorded were made on the one that the study says.
  before = outcomes.load(out, name).machine if os.path.exists(outcomes.path(out, name)) else machines.NOT_RECORDED
  machine = machines.joined([before if machine is None else machine for machine in lab.machines])
  outcomes.save(out, name, outcomes.Study(settings, machine, lab.seconds, data))


if __name__ == "__main__":
  cli.run(main, takes_names=True)
