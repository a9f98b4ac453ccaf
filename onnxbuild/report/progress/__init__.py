"""What a run shows while it works: a live view, plain lines, or events for programs."""
