"""Digests of files outside the store: a file is read only if its size, mtime, ctime or inode has changed."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from onnxbuild.digest import Digest, digest_file
from onnxbuild.store.content import File, Tree
from onnxbuild.store.files import Signature, may_be_exchanged, settled_signature, signature
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
        is_known = memo is not None and memo[0] == signature(status) and not may_be_exchanged(path, memo[0])
        digest = memo[1] if memo is not None and is_known else _compute(path, computed)
        files.append(File(name, digest, status.st_size))
    if computed and remember:
        traces.remember(computed)
    return Tree(tuple(files))


def _status(path: str) -> os.stat_result:
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):  # reading a FIFO or a device may never end
        raise OSError(errno.EINVAL, "it is not a regular file", path)
    return status


def _compute(path: str, computed: dict[str, tuple[Signature, Digest]]) -> Digest:
    """The digest of a file; it goes into `computed` only if the file did not change while it was read."""
    before = settled_signature(path)
    digest = digest_file(Path(path), before[0])
    if signature(os.stat(path)) == before:
        computed[path] = (before, digest)
    return digest
