"""Which results a machine may take from another one that has more than it."""
