"""What the runtimes of other devices accept, from their own tables."""
