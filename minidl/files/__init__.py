"""Files: weights, pictures and data sets; written beside, then renamed."""
