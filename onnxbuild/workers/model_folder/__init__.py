"""Models of several files: what a step changes, and what it carries along."""
