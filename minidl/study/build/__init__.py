"""The build track: write an engine piece by piece, have each piece marked, and train a network with it."""
