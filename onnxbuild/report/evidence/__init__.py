"""What is known about the variants of a build, as data: pages, tables and comparisons are made from it."""
