"""How robust a model is."""
