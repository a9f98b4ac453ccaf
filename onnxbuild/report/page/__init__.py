"""The report of a build as one HTML page, and its plots."""
