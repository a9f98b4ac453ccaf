"""Digests: BLAKE3 over file content or over the canonical encoding of a value.

A digest depends on content, never on location. The canonical encoding is JSON with sorted keys, without spaces, in
UTF-8, as msgspec writes it. A digest is the full 256-bit hash in lower-case hexadecimal, and is the same in every
process and on every machine.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NewType

import msgspec
from blake3 import blake3

from onnxbuild.regular_files import open_regular

Digest = NewType("Digest", str)

# Below this size a thread pool costs more than it saves (measured: 1 MB hashes in 0.3 ms on one core).
_PARALLEL_BYTES = 4 << 20
_BUFFER_BYTES = 16 << 20
_PIECE_BYTES = 8 << 20

# For `read_hashes`.
BLAKE3: Mapping[str, Callable[[], Any]] = {"blake3": lambda: blake3(max_threads=blake3.AUTO)}


def canonical(value: Any) -> bytes:
    """The only encoding of a plain value that is hashed or compared."""
    return msgspec.json.encode(value, order="sorted")


def digest_value(value: Any) -> Digest:
    """Digest of a plain value (Structs, mappings, lists, strings, numbers, booleans, None)."""
    return digest_bytes(canonical(value))


def digest_bytes(data: bytes) -> Digest:
    """Digest of bytes in memory."""
    return Digest(blake3(data).hexdigest())


def digest_file(
    path: Path, size_bytes: int, *, mapped: bool = False, going_on: Callable[[], None] = lambda: None
) -> Digest:
    """Digest of a file's content; a large file is hashed on all cores.

    `mapped`: map it into memory, which saves a copy. Only for a file that nobody shortens meanwhile: the system would
    end this process (SIGBUS). `going_on` is called for each piece of a large file that is read. Errors: OSError from
    the file system.
    """
    if size_bytes < _PARALLEL_BYTES:
        return digest_bytes(path.read_bytes())
    hasher = blake3(max_threads=blake3.AUTO)
    if mapped:
        hasher.update_mmap(path)
    else:
        _update(hasher, path, going_on)
    return Digest(hasher.hexdigest())


def _update(hasher: blake3, path: Path, going_on: Callable[[], None]) -> None:
    buffer = memoryview(bytearray(_BUFFER_BYTES))
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            hasher.update(buffer[:count])
            going_on()


def read_hashes(path: Path, hashes: Mapping[str, Callable[[], Any]], size: int) -> tuple[int, Mapping[str, str]]:
    """The size of a regular file of somebody else, and its digests by name if it has the expected size.

    The path itself is no link. Errors: NotRegular; OSError for a file that is missing or cannot be read.
    """
    with open_regular(path) as file:
        found = os.fstat(file.fileno()).st_size
        if found != size:
            return found, {}
        hashers = {name: make() for name, make in hashes.items()}
        buffer = memoryview(bytearray(min(max(size, 1), _PIECE_BYTES)))
        while count := file.readinto(buffer):
            for hasher in hashers.values():
                hasher.update(buffer[:count])
    return found, {name: hasher.hexdigest() for name, hasher in hashers.items()}
