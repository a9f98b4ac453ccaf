"""Digests of files outside the store: a file is read only if its size, mtime, ctime or inode has changed."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from onnxbuild.digest import Digest, digest_file
from onnxbuild.store.content import File, Tree
from onnxbuild.store.files import Signature, may_be_exchanged, settled_signature, signature
from onnxbuild.store.traces import Traces

# Whoever waits longer wants to know for what: 50 GB take some 30 s, even if they are one hole.
_SILENT_SECONDS = 2.0


class Patience:
    """Says which file is being read, once reading takes long."""

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._say, self._clock = say, clock
        self._silent_since: float | None = None
        self._text: str | None = None

    def begin(self, path: str, size_bytes: int) -> None:
        """A file is going to be read."""
        self._text = f"reading {path} ({_in_words(size_bytes)})"
        if self._silent_since is None:
            self._silent_since = self._clock()

    def going_on(self) -> None:
        """A piece of the file was read."""
        now = self._clock()
        if self._text and self._silent_since is not None and now - self._silent_since >= _SILENT_SECONDS:
            self._say(self._text)
            self._silent_since, self._text = now, None


def _in_words(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 10**9 else f"{size_bytes / 1e6:.1f} MB"


def digest_outside_files(
    root: str, names: Sequence[str], traces: Traces, *, remember: bool, patience: Patience | None = None
) -> Tree:
    """The tree of some files below a folder. `remember`: store the digests that had to be computed.

    Errors: OSError for a file that cannot be read.
    """
    paths = [os.path.join(root, name) for name in names]
    known = traces.recall(paths)
    patience = patience or Patience(lambda _text: None)
    computed: dict[str, tuple[Signature, Digest]] = {}
    files = []
    for name, path in zip(names, paths, strict=True):
        status = _status(path)
        memo = known.get(path)
        is_known = memo is not None and memo[0] == signature(status) and not may_be_exchanged(path, memo[0])
        digest = memo[1] if memo is not None and is_known else _compute(path, computed, patience)
        files.append(File(name, digest, status.st_size))
    if computed and remember:
        traces.remember(computed)
    return Tree(tuple(files))


def _status(path: str) -> os.stat_result:
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):  # reading a FIFO or a device may never end
        raise OSError(errno.EINVAL, "it is not a regular file", path)
    return status


def _compute(path: str, computed: dict[str, tuple[Signature, Digest]], patience: Patience) -> Digest:
    """The digest of a file; it goes into `computed` only if the file did not change while it was read."""
    before = settled_signature(path)
    patience.begin(path, before[0])
    digest = digest_file(Path(path), before[0], going_on=patience.going_on)
    if signature(os.stat(path)) == before:
        computed[path] = (before, digest)
    return digest
