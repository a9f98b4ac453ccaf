"""Datasets as planning sees them: their rows, their columns, and the files that rows name."""
