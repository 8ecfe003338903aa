"""Keeps the worker processes alive: starts, watches, replaces and ends them (§5)."""

import contextlib
import dataclasses
import multiprocessing
import signal
import time
from collections.abc import Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from tf_madry.asynchronous.local import worker as worker_lib
from tf_madry.asynchronous.local.dispatcher import Dispatcher
from tf_madry.asynchronous.local.placement import Placement
from tf_madry.asynchronous.local.status import Status
from tf_madry.asynchronous.replacements import DELAY, Replacements
from tf_madry.training.stepper import StepperError

HEARTBEAT = 10.0  # seconds without a sign of life after which a worker is given up
_LATELY = 2.0  # seconds without one after which nothing waits for it any more
STARTING = 120.0  # seconds that a worker may take until its first sign of life

_CONTEXT = multiprocessing.get_context("spawn")


@dataclasses.dataclass
class _Worker:
  process: BaseProcess
  last_words: Connection
  beats: int = 0  # when it was last looked at
  patience: float = STARTING  # seconds that are left to it
  frozen: bool = False


class Supervisor:
  """Keeps one worker process alive at each placement.

  Args:
    placements: where each worker works.
    status: its table of signs of life.
    dispatcher: is told of every process that starts, and tells of those that are lost.
    shared: the config, slots and weights that `worker.run` is given.
    delay: as of `Replacements`.

  Attributes:
    replacements: of workers that were lost.
  """

  def __init__(self, placements: Sequence[Placement], status: Status, dispatcher: Dispatcher,
               shared: tuple, delay: float = DELAY):
    self._placements, self._status = placements, status
    self._dispatcher, self._shared = dispatcher, shared
    self._workers = {}
    self._looked = time.monotonic()
    self.replacements = Replacements(len(placements), delay)

  def look_after(self) -> None:
    """Starts workers that are due, ends frozen ones, and takes leave of the dead.

    To be called often; never waits.

    Raises:
      StepperError: the workers keep dying, or one cannot be started.
    """
    now = time.monotonic()
    # Who looks after a long time, having been stopped itself perhaps, does not blame the workers
    # for all of it.
    passed, self._looked = min(now - self._looked, HEARTBEAT / 2), now
    for worker in list(self._dispatcher.lost):
      self._replace(worker)
    for worker, member in self._workers.items():
      self._check_pulse(worker, member, passed)
    for worker in self.replacements.due():
      self._start(worker)

  def responds(self, worker: int) -> bool:
    """Whether a worker has lately given a sign of life."""
    return self._workers[worker].patience > HEARTBEAT - _LATELY

  def _start(self, worker):
    self._status.begin(worker)
    try:
      ours, theirs = _CONTEXT.Pipe()
      hear, tell = _CONTEXT.Pipe(duplex=False)
      process = _CONTEXT.Process(
        target=worker_lib.run, name=f"worker-{worker}", daemon=True,
        args=(worker, self._placements[worker], *self._shared, self._status, theirs, tell))
      # Else the first process starts it, which lets Ctrl-C through again.
      resource_tracker.ensure_running()
      # A Ctrl-C that comes before the worker can ignore it would end it with a traceback of its
      # own.
      mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
      try:
        process.start()
      finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    except OSError as error:
      raise StepperError(f"worker {worker} cannot be started: {error.strerror}") from error
    theirs.close()
    tell.close()
    self._workers[worker] = _Worker(process, hear)
    self._dispatcher.add_worker(worker, ours, process.sentinel)

  def _check_pulse(self, worker, member, passed):
    beats = int(self._status.rows[worker]["beats"])
    if beats != member.beats:
      member.beats, member.patience = beats, HEARTBEAT
    else:
      member.patience -= passed
    if member.patience < 0 and not member.frozen:
      member.frozen = True
      member.process.kill()  # also ends a process that is stopped; the dispatcher will notice

  def _replace(self, worker):
    member = self._workers.pop(worker)
    member.process.kill()  # it may have closed its pipe, and not be quite dead
    member.process.join()
    held = self._dispatcher.remove_worker(worker)
    cause = f"worker {worker} (process {member.process.pid}) {self._cause(member)}"
    self.replacements.lost(worker, cause, len(held))

  def _cause(self, member):
    """What became of a worker that has ended, in words."""
    code = member.process.exitcode
    words = None
    with contextlib.suppress(EOFError, OSError):
      if member.last_words.poll():
        words = member.last_words.recv_bytes().decode()
    member.last_words.close()
    if words:
      return self.replacements.raised(words)
    if member.frozen:
      return f"gave no sign of life for {HEARTBEAT if member.beats else STARTING:g} s"
    if code < 0:
      return f"was ended by signal {-code} ({signal.strsignal(-code)})"
    return f"ended with exit code {code}"

  def close(self) -> None:
    """Ends all workers, now: they hold nothing that has to be saved."""
    for member in self._workers.values():
      member.process.kill()
    for member in self._workers.values():
      member.process.join()
      member.last_words.close()
    self._workers.clear()
