"""One Markdown report of all studies that an output folder holds."""

import os

from tf_madry.runtime import files
from tf_madry.studies import STUDIES
from tf_madry.studies.output import outcomes

NAME = "report.md"


def write(out):
  """Writes the report of what is there, and says what is not.

  Returns:
    Its path.

  Raises:
    UserError: there is no study in the folder, or one cannot be read.
  """
  there = [name for name in STUDIES if os.path.exists(outcomes.path(out, name))]
  if not there:
    outcomes.load(out, STUDIES[0])  # says what is expected
  lines = ["# The paper's tables and figures", "",
           "Towards Efficient Methods for Training Robust Deep Neural Networks (Bhat, Tsipras, Mądry 2018). Accuracies are "
           "of so many examples as stand beside them, with 95 % (Wilson) intervals; losses are mean cross-entropies; one "
           "seed, as in the paper; times are those of the runs as they were, on a machine that may have had other work. Scale 1 "
           "is the paper's size, 60,000 steps of batch 128; below it, steps are scaled, and "
           "batch 16, He initialisation, ε rising over the first fifth of the steps, and a learning rate that rises over the "
           "first tenth to the one named and falls to 0 at the end make something of so few.", ""]
  for name in there:
    study = outcomes.load(out, name)
    lines += outcomes.markdown(name, study, outcomes.findings(out, name, study))
  missing = [name for name in STUDIES if name not in there]
  if missing:
    lines += ["## Not run", "", ", ".join(f"`{name}`" for name in missing), ""]
  path = os.path.join(out, NAME)
  with files.output("report", path) as file:
    file.write("\n".join(lines).encode())
  return path
