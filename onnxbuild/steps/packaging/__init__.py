"""Package kinds: what a folder for a client of models consists of, one file per kind."""
