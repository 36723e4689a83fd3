"""Files: weights, pictures, data sets, and writing that never leaves half a file."""
