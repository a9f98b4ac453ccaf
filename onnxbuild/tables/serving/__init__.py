"""What a server offers of each task."""
