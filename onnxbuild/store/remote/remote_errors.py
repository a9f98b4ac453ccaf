"""What can be wrong with a remote store: with all of it, or with one object."""

from __future__ import annotations


class RemoteUnusable(Exception):  # noqa: N818 - a state of the remote store; a run then builds locally
    """The remote store cannot be used; the text gives the reason, without secrets."""


class DamagedObject(Exception):  # noqa: N818 - a state of one object, after which the result is built locally
    """An object of the remote store that is not what its name says; `name` is the name of the object."""

    def __init__(self, name: str, damage: str) -> None:
        self.name = name
        super().__init__(damage)
