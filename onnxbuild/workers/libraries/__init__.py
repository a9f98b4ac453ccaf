"""Control over libraries: their log output, and code that comes with a checkpoint."""
