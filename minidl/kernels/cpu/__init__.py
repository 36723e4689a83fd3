"""What makes NumPy fast on a CPU."""
