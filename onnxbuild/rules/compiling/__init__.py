"""Codes of compile targets."""
