"""The systems that this is for."""

import os

from tf_madry.errors import require


def require_posix() -> None:
  """`UserError` on a system that has no signals, locks and shared memory of the usual kind."""
  require(os.name == "posix", "system", os.name, "posix: Linux or macOS; on Windows, in WSL")
