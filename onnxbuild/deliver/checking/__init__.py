"""Checks of a delivered folder from its own content: no manifest and no store is needed."""
