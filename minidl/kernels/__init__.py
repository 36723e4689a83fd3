"""Speed: arrays in, arrays out. Nothing in here knows of gradients."""
