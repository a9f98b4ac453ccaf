"""Confinement of somebody else's code: files by Landlock, sockets by seccomp. Only Linux has them."""
