"""What a run shows while it goes on: a live view, plain lines, or events for programs."""
