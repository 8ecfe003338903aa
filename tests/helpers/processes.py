"""Running the scripts as their user does: as processes, in a folder of their own."""

import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def start(script, *arguments, cwd, **options):
  """Starts a script; returns the `Popen`, its output and errors in one pipe."""
  command = [sys.executable, "-u", str(ROOT / script), *map(str, arguments)]
  environment = os.environ | {"PYTHONPATH": str(ROOT)}
  return subprocess.Popen(command, cwd=cwd, env=environment, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, **options)


def run(script, *arguments, cwd, timeout=300, **options):
  """Runs a script to its end; returns (exit code, output)."""
  process = start(script, *arguments, cwd=cwd, **options)
  try:
    output, _ = process.communicate(timeout=timeout)
  finally:
    process.kill()
  return process.returncode, output


def until(condition, timeout=300):
  """Waits for a condition to be true, and returns its value."""
  deadline = time.monotonic() + timeout
  while not (value := condition()):
    assert time.monotonic() < deadline, "waited too long"
    time.sleep(0.05)
  return value
