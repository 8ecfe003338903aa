"""Stopping a run at the end of a step, on SIGINT or SIGTERM."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
  """`signum` is the number of the signal that asked to stop, 0 while none has."""

  signum = 0

  def ask(self, signum: int) -> None:
    """A signal came."""
    self.signum = signum


@contextlib.contextmanager
def stop_requests() -> Iterator[StopRequest]:
  """Catches SIGINT and SIGTERM while the block lasts, and gives it a `StopRequest` to look at.

  A second SIGINT ends the process at once, with exit code 130. Python runs its own handlers only
  between two instructions of the main thread, which a long TensorFlow call can put off for minutes;
  so a thread reads the signals from the pipe that the interpreter writes them to.
  """
  request = StopRequest()
  reader, writer = os.pipe()
  os.set_blocking(writer, False)
  listener = threading.Thread(target=_listen, args=(reader, request), daemon=True)
  listener.start()
  # The interpreter writes to the pipe only for signals that have a handler of its own.
  # Whichever of the two comes first tells: between two steps, that is Python's own.
  previous = {signum: signal.signal(signum, lambda signum, frame: request.ask(signum))
              for signum in SIGNALS}
  previous_fd = signal.set_wakeup_fd(writer)
  try:
    yield request
  finally:
    signal.set_wakeup_fd(previous_fd)
    for signum, handler in previous.items():
      signal.signal(signum, handler)
    os.close(writer)
    listener.join()
    os.close(reader)


def _listen(reader, request):
  asked = False
  while received := os.read(reader, 1):
    signum = received[0]
    if asked and signum == signal.SIGINT:
      os._exit(128 + signum)
    if signum in SIGNALS:
      asked = True
      request.ask(signum)
