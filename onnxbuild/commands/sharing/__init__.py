"""The remote store as commands use it: which one, whose results are taken, and who signs."""
