"""The command line as typed values: the parsers, the types of their arguments, and what is asked for."""
