"""Numbers as people read them."""


def duration(seconds: float) -> str:
  """Seconds as '45 s', '12 min' or '5 h 40 min'."""
  if seconds < 100:
    return f"{seconds:.0f} s"
  minutes = round(seconds / 60)
  return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def percent_interval(interval: tuple[float, float]) -> str:
  """An interval of shares as '91.32% to 92.40%'."""
  low, high = interval
  return f"{low:.2%} to {high:.2%}"
