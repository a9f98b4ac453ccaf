"""What leaves the store after a run: the folders under `out/`, and results for other machines."""
