"""Data flow one way through the package: a lower folder or module never imports a higher one."""

import ast
import pathlib

import pytest

import tf_madry

PACKAGE = pathlib.Path(tf_madry.__file__).parent
# From the lowest to the highest.
ORDER = ("errors", "recipes", "runtime", "settings", "config", "datasets", "checkpoints", "models", "attacks",
         "evaluation", "training", "asynchronous", "benchmark", "studies")
ABOVE_ALL = ("cli", "pretrained", "__init__")  # what programs and users call
FILES = sorted(PACKAGE.rglob("*.py"))


def imported(path):
  """The names right below the package that a file imports from, wherever in it."""
  for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
    if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tf_madry":
      parts = node.module.split(".")
      yield from [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]


def place(path):
  return path.relative_to(PACKAGE).with_suffix("").parts[0]


def test_every_part_of_the_package_has_its_place():
  assert {place(path) for path in FILES} == {*ORDER, *ABOVE_ALL}


@pytest.mark.parametrize("part", ORDER)
def test_nothing_imports_what_is_above_it(part):
  found = {name for path in FILES if place(path) == part for name in imported(path)}
  # Processes that are started of their own enter as programs do.
  allowed = {*ORDER[:ORDER.index(part) + 1], *({"cli"} if part in ("asynchronous", "benchmark", "studies") else ())}
  assert found <= allowed, f"{part} imports {sorted(found - allowed)}"


def test_only_studies_draw_at_import():
  for path in FILES:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    top = [node for node in body if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = {alias.name for node in top for alias in node.names}
    names |= {getattr(node, "module", None) or "" for node in top}
    draws = any(name.startswith("matplotlib") for name in names)
    assert not draws or place(path) == "studies", path
