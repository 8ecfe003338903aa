"""How far an evaluation is: a bar in a terminal, a line a minute where there is none."""

import sys
import time
from collections.abc import Callable

from tqdm import tqdm

from tf_madry.runtime.text import duration

PERIOD = 60.0  # seconds between two lines


class Progress:
  """The progress of one attack, as a context.

  Args:
    total: examples in all.
    name: of the attack.
    say: called with each line.
    terminal: whether there is a terminal for the bar; None: look.
    clock: seconds.
  """

  def __init__(self, total: int, name: str = "", *, say: Callable[[str], None] = print,
               terminal: bool | None = None, clock: Callable[[], float] = time.monotonic):
    self._total, self._name, self._say, self._clock = total, name, say, clock
    self._terminal = sys.stderr.isatty() if terminal is None else terminal
    self._bar = tqdm(total=total, desc=name or None, unit="example", dynamic_ncols=True,
                     leave=False, disable=not self._terminal)
    self._began = self._last = clock()
    self._first = None

  def __enter__(self) -> "Progress":
    return self

  def __exit__(self, *_: object) -> None:
    self._bar.close()

  def show(self, done: int, **values: float) -> None:
    """Tells how many examples are done, and shares (in [0, 1]) by name."""
    texts = {name: f"{value:.2%}" for name, value in values.items()}
    self._bar.set_postfix(texts)
    self._bar.update(done - self._bar.n)
    now = self._clock()
    if self._first is None:
      self._first, self._began = done, now  # the first batch compiles, and tells no speed
    if self._terminal or now - self._last < PERIOD:
      return
    self._last = now
    known = done - self._first
    left = (now - self._began) / known * (self._total - done) if known else None
    what = [f"{done:,} of {self._total:,} examples",
            *(f"{name} {text}" for name, text in texts.items())]
    what += [f"about {duration(left)} left"] if left is not None else []
    self._say(f"  {self._name + ': ' if self._name else ''}{', '.join(what)}")
