"""What runs in a worker process: one folder per step kind, and the ground that they stand on."""
