"""The packages of other Python interpreters, read from their folders without starting them."""
