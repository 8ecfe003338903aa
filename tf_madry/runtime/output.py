"""Standard output and error, whatever they are: closed, in another encoding, without a reader."""

import contextlib
import io
import os
import select
import sys

STREAMS = {1: "stdout", 2: "stderr"}


def settle() -> None:
  """Makes standard output and error take any text.

  A character that their encoding does not have becomes a question mark, and where one is closed
  its text goes nowhere. A file that is opened later cannot take its place, and then its text.
  """
  while (descriptor := os.open(os.devnull, os.O_RDWR)) <= max(STREAMS):
    os.set_inheritable(descriptor, True)
  os.close(descriptor)
  for name in STREAMS.values():
    stream = getattr(sys, name)
    if stream is None:
      nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (as long as the process)
      setattr(sys, name, nowhere)
    elif isinstance(stream, io.TextIOWrapper):
      stream.reconfigure(errors="replace")


def nobody_reads() -> bool:
  """Whether standard output or error is a pipe whose reader has gone."""
  poll = select.poll()
  for descriptor in STREAMS:
    poll.register(descriptor, 0)
  return any(event & select.POLLERR for _, event in poll.poll(0))


def give_up() -> None:
  """Writes what is still to be written, and where that fails lets it go.

  The interpreter would try again at its end, and change the exit code.
  """
  for descriptor, name in STREAMS.items():
    try:
      getattr(sys, name).flush()
    except OSError:
      nowhere = os.open(os.devnull, os.O_WRONLY)
      os.dup2(nowhere, descriptor)
      os.close(nowhere)


def fail(message: object) -> None:
  """Says what went wrong, in one line on standard error, if anybody hears it."""
  with contextlib.suppress(OSError):
    print(f"error: {' '.join(str(message).split())}", file=sys.stderr, flush=True)
