"""Packages: folders that clients of models load, and the checks with these clients."""
