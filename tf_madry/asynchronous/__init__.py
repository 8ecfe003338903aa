"""Asynchronous training (§5): workers craft the batches that one trainer learns from."""
