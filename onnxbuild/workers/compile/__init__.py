"""Compiling a graph with a backend."""
