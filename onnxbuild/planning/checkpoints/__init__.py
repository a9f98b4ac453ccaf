"""Checkpoints as planning sees them: whether all of their weights are there, and what has to be done to them first."""
