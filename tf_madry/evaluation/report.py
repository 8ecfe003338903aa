"""What every report begins with, and its JSON file."""

import json
from typing import Any

from tf_madry.evaluation.load import Choice
from tf_madry.models.loading import LoadedModel
from tf_madry.runtime import files


def title(loaded: LoadedModel, examples: str, seed: int, sources: list[LoadedModel] = ()) -> str:
  """What is evaluated, on which examples, and the seed of the attacks, as a line of text."""
  crafted = "".join(f"; source {number + 1}: {source.path}"
                    for number, source in enumerate(sources))
  step = "" if loaded.step is None else f", step {loaded.step:,}"
  return f"{loaded.path}{step}: {examples}{crafted}; seed {seed}"


def write_json(path: str, result: Any, loaded: LoadedModel, choice: Choice,
               sources: list[LoadedModel] = (), **settings: Any) -> None:
  """Writes a result, a dataclass, as a JSON object, with the models, the examples and the settings
  it belongs to.

  What is not a finite number, such as the loss of a model that diverged, is null.
  """
  values = {"model": loaded.path, "step": loaded.step, "split": choice.split,
            "examples": choice.examples if choice.num_examples else "all",
            "sources": [source.path for source in sources], **settings, **vars(result)}
  values = json.loads(json.dumps(values), parse_constant=lambda name: None)
  with files.output("json", path) as file:
    file.write(json.dumps(values, indent=2).encode() + b"\n")
