"""Workers on a cluster: actors of Ray, with weights and batches in its object store (§7).

Ray brings the code and MNIST to the nodes; a worker with another TensorFlow, package or data set is
refused by name. What travels: the weights, 13 MB for each node every `--reload_every` steps, and
400 KB for a batch of 128 MNIST images.
"""
