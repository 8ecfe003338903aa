"""What is trained: the network, its layers, and checkpoints of others."""
