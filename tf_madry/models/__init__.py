"""What is trained: the network, its layers, and checkpoints of others."""

from tf_madry.runtime import numerics

numerics.require_keras()  # before a module here imports it and finds another backend
