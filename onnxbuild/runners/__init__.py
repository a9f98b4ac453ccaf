"""How workers are reached: the protocol, the local one, and the environments that they run in."""
