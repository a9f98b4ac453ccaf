"""HTTP: the addresses, their bodies and answers, errors, keys, metrics."""
