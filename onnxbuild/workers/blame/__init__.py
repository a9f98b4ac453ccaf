"""Comparing two graphs node by node: `worker` runs it; the other modules are used only by it."""
