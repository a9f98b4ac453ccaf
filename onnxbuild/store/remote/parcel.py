"""A trace as it is sent between machines, with the trees that it names, and the checks that it passes on arrival."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePath, PurePosixPath

import msgspec
from msgspec import Struct

from onnxbuild.digest import digest_value
from onnxbuild.store.content import File, Tree
from onnxbuild.store.traces import Trace

_LAYOUT = 1
_DIGEST_LENGTH = 64  # hexadecimal digits of 256 bits


class Parcel(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A trace, and the files of each tree that it names, by the digest of the tree."""

    layout: int
    trace: Trace
    trees: Mapping[str, tuple[File, ...]]

    def tree(self, port: str) -> Tree:
        """The tree at an output port."""
        return Tree(self.trees[self.trace.outputs[port]])

    @property
    def files(self) -> Mapping[str, File]:
        """Every file once, by digest."""
        return {file.digest: file for files in self.trees.values() for file in files}


class DamagedObject(Exception):  # noqa: N818 - a state of one object, after which the result is built locally
    """An object of the remote store whose content does not match its name; `name` is the name of the object."""

    def __init__(self, name: str, damage: str) -> None:
        self.name = name
        super().__init__(damage)


def parcel_of(trace: Trace, trees: Iterable[Tree]) -> Parcel:
    """The parcel of a trace and its trees."""
    return Parcel(layout=_LAYOUT, trace=trace, trees={tree.digest: tree.files for tree in trees})


def parcel_from(key: str, data: bytes) -> Parcel:
    """The parcel that has arrived for a key, once it has passed every check. Errors: DamagedObject."""
    name = trace_name(key)
    try:
        parcel = msgspec.json.decode(data, type=Parcel)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DamagedObject(name, f"it is not a trace ({error})") from None
    if parcel.layout != _LAYOUT:
        raise DamagedObject(name, f"it has layout {parcel.layout}, expected {_LAYOUT}")
    if digest_value(parcel.trace.parts) != key:
        raise DamagedObject(name, "it is the trace of another key")
    if set(parcel.trace.outputs.values()) != set(parcel.trees):
        raise DamagedObject(name, "its outputs and its trees differ")
    for digest, files in parcel.trees.items():
        if Tree(files).digest != digest or not all(_is_safe(file) for file in files):
            raise DamagedObject(name, "a tree does not match its name")
    return parcel


def _is_safe(file: File) -> bool:
    """Whether a file's name stays below the folder that it is written to, and its digest names a blob."""
    path = PurePath(file.name)  # with the separators and drives of this system
    below = not path.anchor and ".." not in path.parts and "\0" not in file.name
    plain = below and str(PurePosixPath(file.name)) == file.name
    is_digest = len(file.digest) == _DIGEST_LENGTH and set(file.digest) <= set("0123456789abcdef")
    return plain and is_digest and file.size >= 0


def trace_name(key: str) -> str:
    """The name of the object that holds the trace with this key."""
    return f"traces/{key[:2]}/{key}.json"


def blob_name(digest: str) -> str:
    """The name of the object with this content."""
    return f"blobs/{digest[:2]}/{digest}"
