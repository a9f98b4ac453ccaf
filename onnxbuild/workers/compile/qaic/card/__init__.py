"""Running a compiled program on a card."""
