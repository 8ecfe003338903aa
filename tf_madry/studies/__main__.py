"""Runs a study by name.

    python -m tf_madry.studies power --scale 0.1
    python -m tf_madry.studies report    # of all that were run
"""

import dataclasses
import typing
from collections.abc import Callable
from typing import Any

from absl import flags

from tf_madry import cli
from tf_madry.errors import UserError, require
from tf_madry.settings import CHOICES
from tf_madry.studies import STUDIES
from tf_madry.studies.lab.options import Options

REPORT = "report"
# The flag that a setting comes from, where that has another name.
RENAMED = {"learning_rate": "rates"}


def _define_flags():
  flags.DEFINE_string("out", "studies",
                      "folder for networks, numbers and plots; what is there is not done again")
  flags.DEFINE_boolean("plot_only", False,
                       "draw again what was measured; other flags may only say what was measured "
                       "with")
  for field in dataclasses.fields(Options):
    name, help_text, kind = field.name, field.metadata["help"], _kind(field)
    if name == "precision":
      flags.DEFINE_enum(name, None, CHOICES[name], help_text)
    elif _is_list(field):
      flags.DEFINE_list(name, None, help_text)
    else:
      {int: flags.DEFINE_integer, float: flags.DEFINE_float}[kind](name, None, help_text)


def _kind(field: dataclasses.Field) -> Callable[[str], Any]:
  """The type of an option's value, or of the values in its list."""
  known = (int, float, str)
  types = [field.type, *typing.get_args(field.type), *(arg for part in typing.get_args(field.type)
                                                       for arg in typing.get_args(part))]
  return next(type_ for type_ in types if type_ in known)


def _is_list(field):
  return any(typing.get_origin(part) is tuple
             for part in (field.type, *typing.get_args(field.type)))


_define_flags()


def main(names: list[str]) -> int:
  """Runs the study of this name; returns the exit code."""
  accepted = ", ".join((*STUDIES, REPORT))
  require(len(names) == 1 and names[0] in (*STUDIES, REPORT), "study", " ".join(names),
          f"one of {accepted}")
  name, out, given = names[0], flags.FLAGS.out, {field.name: _value(field)
                                                 for field in dataclasses.fields(Options)}
  cli.load_tensorflow()
  from tf_madry.studies import study
  from tf_madry.studies.lab import options
  from tf_madry.studies.output import report, results
  from tf_madry.training import loop
  if name == REPORT:
    print(report.write(out))
    return 0
  chosen, found = options.fill(**given), study.load(name)
  settings = chosen.settings(found.OPTIONS)
  if flags.FLAGS.plot_only:
    results.require_same(out, name, {setting: value for setting, value in settings.items()
                                     if given.get(RENAMED.get(setting, setting)) is not None})
  else:
    try:
      _collect(name, found, out, chosen, settings)
    except loop.Stopped as stopped:
      return stopped.exit_code
    except KeyboardInterrupt:
      print("stopped; the same command goes on from here")
      raise
  kept = results.load(out, name)
  findings = report.findings_of(out, name, kept)
  report.draw(out, findings, kept.settings)
  print("\n".join(report.section(name, kept, findings)))
  return 0


def _value(field):
  given = flags.FLAGS[field.name].value
  if not _is_list(field) or given is None:
    return given
  try:
    return tuple(map(_kind(field), given))
  except ValueError as error:
    raise UserError(f"{field.name} is {','.join(given)!r}, accepted: numbers with commas between "
                    "them") from error


def _collect(name, study, out, chosen, settings):
  from tf_madry.studies.lab import cache, machines
  from tf_madry.studies.lab.lab import Lab
  from tf_madry.studies.output import results
  cache.prepare(out)
  results.require_same(out, name, settings)
  lab = Lab(out, chosen)
  data = study.collect(lab)
  # Measurements from before machines were recorded were made on the one that the study says.
  before = results.load(out, name).machine if results.is_there(out, name) else machines.NOT_RECORDED
  machine = machines.joined([before if machine is None else machine for machine in lab.machines])
  results.save(out, name, results.Results(settings, machine, lab.seconds, data))


if __name__ == "__main__":
  cli.run(main, takes_names=True)
