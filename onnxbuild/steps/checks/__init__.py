"""Step kinds that only look at graphs, one file each."""
