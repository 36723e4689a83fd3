"""Training: the loop, its log, its checkpoints."""
