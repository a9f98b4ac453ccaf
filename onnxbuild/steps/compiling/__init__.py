"""Backends: what compiles a graph for a runtime or a device, and what runs the result."""
