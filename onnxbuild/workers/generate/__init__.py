"""The generate step: `worker` runs it, and what only it needs stands beside it."""
