"""Attacks in the ℓ∞ ball. An attack is called as `attack(model, images, labels, seed=…)`; see `pgd.py`."""
