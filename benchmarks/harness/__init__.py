"""What the benchmarks share: the networks and their rows, the libraries, a process for each, meters, the table."""
