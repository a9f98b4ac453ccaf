"""The packages of other Python interpreters, read from their folders without starting them."""

from collections.abc import Callable

MayRead = Callable[[str], bool]  # whether a folder, with links resolved, may be looked at
