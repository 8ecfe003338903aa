"""Shared memory: what it says when there is not enough, and that none is left behind."""

import os
import re
import resource
import signal
import subprocess
import sys
import textwrap

import pytest

from tests.helpers.others import limited
from tests.helpers.processes import ROOT
from tests.helpers.producers import BATCH, SHAPE, SOON
from tf_madry.asynchronous.local.slots import Slots
from tf_madry.errors import UserError


@pytest.fixture
def tmpfs(tmp_path):
  """A directory in memory of 4 MiB."""
  made = subprocess.run(
    ["mount", "-t", "tmpfs", "-o", "size=4m", "none", tmp_path], capture_output=True
  )
  if made.returncode:
    pytest.skip("only root can mount a small tmpfs")
  yield str(tmp_path)
  subprocess.run(["umount", tmp_path], check=True)


def free(directory):
  room = os.statvfs(directory)
  return room.f_bavail * room.f_frsize


def test_a_queue_that_does_not_fit_says_how_much_it_needs(tmpfs):
  with pytest.raises(UserError) as error:
    Slots(64, 128, (28, 28, 1), directory=tmpfs)
  needed = 64 * (64 + 128 * 28 * 28 * 4 + 128 * 4)
  assert str(error.value) == (
    f"a queue of 64 batches of 128 images needs {needed} bytes of shared memory, "
    f"{tmpfs} has {4 << 20} bytes free"
  )
  with Slots(8, 128, (28, 28, 1), directory=tmpfs), pytest.raises(UserError, match="needs"):
    # The first is reserved, though nothing has been written.
    Slots(8, 128, (28, 28, 1), directory=tmpfs)
  assert free(tmpfs) == 4 << 20


@pytest.mark.parametrize(
  ("limit", "value", "reason"),
  [
    (resource.RLIMIT_FSIZE, 4096, "File too large"),
    (resource.RLIMIT_NOFILE, 0, "Too many open files"),
  ],
)
def test_memory_that_cannot_be_reserved_is_the_same_error(limit, value, reason):
  with limited(limit, value), pytest.raises(UserError) as error:
    Slots(1, BATCH, SHAPE)
  assert re.search(
    rf"needs \d+ bytes of shared memory, .* has \d+ bytes free \({reason}\)$", str(error.value)
  )


@pytest.mark.parametrize("slots, batch_size", [(0, 1), (-1, 1), (1, 0)])
def test_sizes_below_one_are_refused(slots, batch_size):
  with pytest.raises(UserError, match="accepted: at least 1"):
    Slots(slots, batch_size, SHAPE)


RUN = """
import os, signal, sys, time
from tests.helpers import producers
from tf_madry.asynchronous.local.dispatcher import Dispatcher
from tf_madry.asynchronous.local.slots import Slots
from tf_madry.training.tickets import Tickets

def main():
  directory, fate = sys.argv[1:]
  directory = None if directory == "default" else directory
  with Slots(4, producers.BATCH, producers.SHAPE, directory) as slots:
    dispatcher = Dispatcher(slots, Tickets())
    processes = []
    for worker in range(2):
      ours, theirs = producers.CONTEXT.Pipe()
      arguments = slots, theirs, worker
      processes.append(producers.CONTEXT.Process(target=producers.craft, args=arguments, daemon=True))
      processes[-1].start()
      theirs.close()
      dispatcher.add_worker(worker, ours, processes[-1].sentinel)
    for _ in range(20):
      dispatcher.take(30).consume()
    assert "tensorflow" not in sys.modules
    with open("/proc/self/maps") as maps:
      mapped = [line for line in maps if "/#" in line]
    assert len(mapped) == 1 and mapped[0].endswith("(deleted)\\n"), mapped
    print("running", flush=True)
    if fate == "trainer killed":
      os.kill(os.getpid(), signal.SIGKILL)
    if fate == "worker killed":
      processes[0].kill()
      processes[0].join()
      dispatcher.remove_worker(0)
    for _ in range(20):
      dispatcher.take(30).consume()
    dispatcher.close()
    for process in processes:
      process.join()

if __name__ == "__main__":
  main()
"""


@pytest.mark.parametrize("fate", ["clean", "worker killed", "trainer killed"])
def test_nothing_is_left_behind(tmp_path_factory, tmpfs, fate):
  script = tmp_path_factory.mktemp("script") / "run.py"
  script.write_text(textwrap.dedent(RUN))
  run = subprocess.Popen(
    [sys.executable, script, tmpfs, fate], text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    stdout=subprocess.PIPE, stderr=subprocess.PIPE,
  )
  # Workers and the resource tracker inherit the pipes: they end only when every process has.
  assert run.communicate(timeout=SOON) == ("running\n", "")
  assert run.returncode == (-signal.SIGKILL if fate == "trainer killed" else 0)
  assert os.listdir(tmpfs) == [] and free(tmpfs) == 4 << 20
