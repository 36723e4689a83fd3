"""What the gradient checker found, as a page and on the command line."""
