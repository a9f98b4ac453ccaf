"""Libraries kept in check: their noise, and code that comes with a checkpoint."""
