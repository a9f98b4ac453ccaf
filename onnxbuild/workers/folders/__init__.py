"""Folders of model files: copying them, and reading the configs in them."""
