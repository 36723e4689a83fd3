"""The mathematics: each primitive stands beside its derivative."""
