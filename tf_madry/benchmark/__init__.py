"""Measures parts of the system on the machine at hand: `python -m tf_madry.benchmark core queue`.

On two cores `core` and `loop` take some minutes, `asynchronous` a quarter of an hour, the others
seconds. Where torch is installed, `core` has PyTorch's gradient beside ours.
"""
