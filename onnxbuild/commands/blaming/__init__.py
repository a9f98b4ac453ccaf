"""Which step of a variant breaks its validation, and which nodes: the command `blame`."""
