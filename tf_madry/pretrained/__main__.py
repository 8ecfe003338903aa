"""Makes a pretrained network of a model directory, or puts results of eval.py on a card."""

import json
import os
from typing import Any

from absl import flags

from tf_madry import cli
from tf_madry.errors import UserError, require

FLAGS = flags.FLAGS
flags.DEFINE_string("model_dir", None, "the run whose newest weights are taken")
flags.DEFINE_string("command", None, "how it was trained, for the card")
flags.DEFINE_string("machine", None, "where it was trained, for the card (this one)")
flags.DEFINE_list("results", [], "JSON files that eval.py wrote of the network, for the card")

def main(names: list[str]) -> int:
  """Returns the exit code."""
  require(len(names) == 1, "names", " ".join(names), "one: that of the network, as in pretrained/NAME")
  require(bool(FLAGS.model_dir) != bool(FLAGS.results), "model_dir", FLAGS.model_dir,
          "a run to make a network of, or none where --results go on the card of one")
  cli.load_tensorflow()
  from tf_madry.models import pretrained
  name = names[0]
  if FLAGS.results:
    card = pretrained.read_card(name)
    results = [_read_result(path, name, card["step"]) for path in FLAGS.results]
    attacks = [result.get("attack") for result in results]
    card["results"] = [result for result in card["results"]
                       if result.get("attack") not in attacks] + results
    pretrained.write_card(name, card)
    print(f"{len(results)} results on the card of pretrained/{name}")
    return 0
  from tf_madry import checkpoints
  checkpoint = checkpoints.read_newest(FLAGS.model_dir)
  require(checkpoint, "model_dir", FLAGS.model_dir, "a directory with a checkpoint in it")
  pretrained.write(name, checkpoint)
  pretrained.write_card(name, _card(name, checkpoint))
  print(f"made pretrained/{name} of {checkpoint.path}")
  return 0


def _card(name, checkpoint) -> dict[str, Any]:
  from tf_madry.config import Config
  from tf_madry.pretrained.check import check
  from tf_madry.runtime import devices
  path = os.path.join(FLAGS.model_dir, "config.json")
  with open(path, encoding="utf-8") as file:
    versions = json.load(file).get("versions", {})
  config = Config.from_values(checkpoint.values)
  return {"name": name, "command": FLAGS.command, "machine": FLAGS.machine or devices.description(),
          "seconds": round(float(checkpoint.arrays["elapsed"])), "step": checkpoint.step,
          "settings": config.experiment() | {"steps": config.training.steps},
          "versions": versions, "check": check(name), "results": []}


def _read_result(path, name, step) -> dict[str, Any]:
  try:
    with open(path, encoding="utf-8") as file:
      result = json.load(file)
  except (OSError, ValueError) as error:
    raise UserError(f"result {path!r} cannot be read: {error}") from error
  require(isinstance(result, dict), f"result {path!r}", type(result).__name__, "a JSON object")
  known = result.get("model"), result.get("step")
  require(known == (f"pretrained/{name}", step), f"result {path!r}",
          f"of {known[0]}, step {known[1]}", f"one of pretrained/{name}, step {step}, whose weights "
          "are rounded")
  return result


if __name__ == "__main__":
  cli.run(main, takes_names=True)
