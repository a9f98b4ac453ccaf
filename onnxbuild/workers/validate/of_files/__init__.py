"""Metrics over recordings and pictures: `reading_files` reads the rows of a dataset, and seeded sounds without one."""
