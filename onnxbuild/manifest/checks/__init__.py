"""Faults of a manifest that a schema cannot express."""
