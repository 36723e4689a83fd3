"""Training: the loop, its log, progress and checkpoints; the order of the data."""
