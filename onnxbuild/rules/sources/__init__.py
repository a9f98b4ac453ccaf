"""Codes of sources: where they come from, what pins them, and what their files say."""
