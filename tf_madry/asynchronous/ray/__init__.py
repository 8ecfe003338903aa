"""Workers on a cluster: actors of Ray, with weights and batches in its object store (§7)."""
