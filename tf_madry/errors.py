"""The one exception that users see, and the one sentence it is made of."""


class UserError(Exception):
  """Something the user gave cannot be used.

  The message is one line that names what was given and what is accepted; the scripts print it as it
  is and exit with code 2 (`tf_madry.cli.run`).
  """


def require(condition: object, name: str, value: object, accepted: str) -> None:
  """Raises `UserError("<name> is <value>, accepted: <accepted>")` unless `condition` holds."""
  if not condition:
    raise UserError(f"{name} is {value!r}, accepted: {accepted}")
