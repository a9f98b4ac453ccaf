"""The publish step: `worker` runs it; the other modules are used only by it."""
