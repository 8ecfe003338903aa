"""Asynchronous adversarial training (§5): worker processes craft the batches that one trainer process learns from."""
