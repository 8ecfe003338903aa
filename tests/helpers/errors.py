"""Errors that users see."""

from collections.abc import Callable

import pytest

from tf_madry.errors import UserError


def error_of(function: Callable, *args: object) -> str:
  """The message of the `UserError` that a call ends with; it has to be one line."""
  with pytest.raises(UserError) as caught:
    function(*args)
  message = str(caught.value)
  assert "\n" not in message and len(message) < 500
  return message
