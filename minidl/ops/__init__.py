"""The mathematics: each primitive is followed by its derivative rules."""
