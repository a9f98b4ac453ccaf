"""A model by each exporter that can export it: which ones can, and the table of what came of it."""
