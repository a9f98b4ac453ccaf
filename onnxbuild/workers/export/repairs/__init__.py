"""Faults of optimum and transformers that would spoil an export, repaired while optimum works."""
