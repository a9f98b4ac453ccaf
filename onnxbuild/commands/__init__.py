"""One small file per command: the flow of the design, one call after another."""
