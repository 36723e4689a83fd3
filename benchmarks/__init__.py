"""What the project claims about speed and precision, measured: `python -m benchmarks.NAME --help`."""
