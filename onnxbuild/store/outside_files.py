"""Digests of files outside the store: a file is read only if its size, mtime, ctime or inode has changed."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from onnxbuild.digest import Digest, digest_file
from onnxbuild.store.content import File, Tree
from onnxbuild.store.files import UNSETTLED, Signature, has_fixed_times, settled_signature, signature
from onnxbuild.store.traces import Traces


def digest_outside_files(root: str, names: Sequence[str], traces: Traces, *, remember: bool) -> Tree:
    """The tree of some files below a folder. `remember`: store the digests that had to be computed.

    Errors: OSError for a file that cannot be read.
    """
    paths = [os.path.join(root, name) for name in names]
    known = traces.recall(paths)
    computed: dict[str, tuple[Signature, Digest]] = {}
    files = []
    for name, path in zip(names, paths, strict=True):
        status = _status(path)
        memo = known.get(path)
        if memo is None or memo[0] != signature(status):
            digest = _compute(path, status.st_size, computed)
        elif has_fixed_times(path, status):
            digest = digest_file(Path(path), status.st_size)
            computed[path] = UNSETTLED, digest  # an earlier version remembered it, and a receipt could rely on that
        else:
            digest = memo[1]
        files.append(File(name, digest, status.st_size))
    if computed and remember:
        traces.remember(computed)
    return Tree(tuple(files))


def _status(path: str) -> os.stat_result:
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):  # reading a FIFO or a device may never end
        raise OSError(errno.EINVAL, "it is not a regular file", path)
    return status


def _compute(path: str, size: int, computed: dict[str, tuple[Signature, Digest]]) -> Digest:
    """The digest of a file; it goes into `computed` only if the file did not change while it was read."""
    before = settled_signature(path)
    digest = digest_file(Path(path), size)
    if signature(os.stat(path)) == before:
        computed[path] = before, digest
    return digest
