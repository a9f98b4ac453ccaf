"""What can be bounded by row, the default bounds of it, and bounds written as text."""
