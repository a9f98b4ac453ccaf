"""load: opens every graph of a variant once."""
