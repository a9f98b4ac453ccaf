"""Metrics by task, measured row by row on labelled text; `measuring` runs them."""
