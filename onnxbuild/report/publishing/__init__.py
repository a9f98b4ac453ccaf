"""What a run and a plan say about uploads."""
