"""Observing the tensors of a graph while it reads data."""
