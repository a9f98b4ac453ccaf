"""The code of the worker process: one folder per step kind, and the modules that they share."""
