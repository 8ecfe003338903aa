"""Systems that this is not for, and programs under settings that are not theirs."""

import subprocess
import sys

import pytest

from tests.helpers import processes, settings

# Windows, as far as a program can tell: what was imported before has found its own system.
WINDOWS = ("import os, runpy, sys; sys.modules['fcntl'] = sys.modules['resource'] = None; import tf_madry.cli; "
           "os.name = 'nt'; sys.argv = sys.argv[1:]; ")


def windows(what, *arguments):
  """Runs Python there; returns (exit code, stderr)."""
  process = subprocess.run([sys.executable, "-c", WINDOWS + what, *arguments], cwd=processes.ROOT, text=True, check=False,
                           capture_output=True)
  return process.returncode, process.stderr


@pytest.mark.parametrize("script", ["train.py", "eval.py", "async_train.py"])
def test_a_program_on_another_system_says_which_it_is_for(script):
  assert windows(f"runpy.run_path({script!r}, run_name='__main__')", script, "--k=3") == (
      2, "error: system is 'nt', accepted: posix: Linux or macOS; on Windows, in WSL\n")


@pytest.mark.parametrize("module", ["studies", "benchmark"])
def test_a_module_on_another_system_says_which_it_is_for(module):
  code, errors = windows(f"runpy.run_module('tf_madry.{module}', run_name='__main__')", module)
  assert (code, errors.count("\n")) == (2, 1)
  assert "on Windows, in WSL" in errors


def test_a_folder_is_not_locked_on_another_system():
  said = ("from tf_madry.runtime import files; from tf_madry.errors import UserError\n"
          "try:\n  with files.exclusive('run'): pass\nexcept UserError as error: print(error, file=sys.stderr)")
  assert windows(said)[1] == "system is 'nt', accepted: posix: Linux or macOS; on Windows, in WSL\n"


def test_a_benchmark_is_of_tensorflow_whatever_keras_json_says(tmp_path):
  environment = settings.home(tmp_path, backend="jax") | {"PYTHONPATH": str(processes.ROOT)}
  process = subprocess.run([sys.executable, "-m", "tf_madry.benchmark", "speed"], cwd=tmp_path, env=environment, text=True,
                           check=False, capture_output=True)
  assert (process.returncode, process.stderr.count("\n")) == (2, 1)
