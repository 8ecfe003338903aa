"""How a model becomes robust (Eq. 6)."""
