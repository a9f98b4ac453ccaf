"""Models of several files: which graphs a step changes, and what it copies."""
