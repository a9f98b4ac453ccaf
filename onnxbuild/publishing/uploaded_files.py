"""The files that publishing a package uploads: its own, the card with its license, and a list of digests.

The list is `.onnxbuild.sha256`, in the format of `sha256sum`. It tells which files of a repository came from
onnxbuild, so that a later version removes its own old files and leaves those of others alone. While an upload is
under way or after it was cut off, it has both digests of each file that changes: the one before and the new one. So
whatever is published next knows its own files from those that somebody has changed meanwhile. The digest of a
published folder is the sha256 of this list without the line of `onnxbuild.json`, so anyone can compute it with two
commands. That file tells how the others were made: two builds with equal files may differ in it, by the version of
onnxbuild or by a measured value, and are one publication nevertheless.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from msgspec import Struct

from onnxbuild.publishing.card_license import text_of_card, with_license
from onnxbuild.publishing.sha256_sums import sha256_of_bytes, sum_line
from onnxbuild.regular_files import is_safe_name

SUMS = ".onnxbuild.sha256"
CARD = "README.md"
ACCOUNT = "onnxbuild.json"
SIGNATURE = "model.sig"
SUMS_OF_PACKAGE = "SHA256SUMS"  # of packages that have one
_BLOCK = 1 << 20
_TAG_DIGITS = 16
_CHANGED = "changed"  # in place of a digest

Listing = Mapping[str, frozenset[str]]  # the digests of each file, by name: what a publish has listed


class LocalFile(Struct, frozen=True):
    """A file to upload: its content, or the path that has it, and its digests as the Hub computes them.

    `blob`: the id of the file in git, which the Hub gives small files.
    """

    size: int
    sha256: str
    blob: str
    content: bytes | None = None
    path: str = ""

    def read(self) -> bytes:
        """The whole content."""
        return Path(self.path).read_bytes() if self.content is None else self.content

    def part(self, start: int, size: int) -> bytes:
        """A part of the content; fewer bytes at its end."""
        if self.content is not None:
            return self.content[start : start + size]
        with open(self.path, "rb") as file:
            file.seek(start)
            return file.read(size)


class Upload(Struct, frozen=True):
    """Everything that one publish uploads, by name. `digest` stands for all of it."""

    files: Mapping[str, LocalFile]
    digest: str

    @property
    def tag(self) -> str:
        """The tag that names this content."""
        return f"onnxbuild-{self.digest[:_TAG_DIGITS]}"

    @property
    def size(self) -> int:
        """The sum of all sizes in bytes."""
        return sum(file.size for file in self.files.values())


def upload_of(
    folder: Path,
    *,
    texts: Mapping[str, str] | None = None,
    license: str = "",  # noqa: A002 - the word of the card
    base_model: str = "",
) -> Upload:
    """The files to upload from a folder, and texts by name that replace files of it or are added.

    Errors: ValueError for a card that states another license.
    """
    paths = {name: folder / name for name in _names_below(folder)}
    return upload_of_paths(paths, texts=texts, license=license, base_model=base_model)


def upload_of_paths(
    paths: Mapping[str, Path],
    *,
    texts: Mapping[str, str] | None = None,
    license: str = "",  # noqa: A002
    base_model: str = "",
) -> Upload:
    """The same for files that are anywhere, by name."""
    added = {name: _of_bytes(text.encode("utf-8")) for name, text in (texts or {}).items()}
    files = {name: _digested(path) for name, path in paths.items() if name != SUMS and name not in added} | added
    card = files[CARD].read() if CARD in files else b""
    licensed = with_license(text_of_card(card), license, base_model).encode("utf-8", "surrogateescape")
    if licensed != card:
        files[CARD] = _of_bytes(licensed)
        if SUMS_OF_PACKAGE in files:
            written = files[SUMS_OF_PACKAGE].read().decode("utf-8")
            files[SUMS_OF_PACKAGE] = _of_bytes(with_sum(written, files[CARD].sha256).encode("utf-8"))
    files = dict(sorted(files.items()))
    lines = {name: sum_line(file.sha256, name) for name, file in files.items()}
    content = "".join(line for name, line in lines.items() if name != ACCOUNT)
    sums = "".join(lines.values())
    return Upload({**files, SUMS: _of_bytes(sums.encode())}, sha256_of_bytes(content.encode()))


def listed(sums: bytes) -> Listing:
    """The digests by name in a list of an earlier publish; a damaged line counts as absent.

    No publish writes a name that leads out of its folder. Such a name counts as absent, too, and the list itself gets
    an entry, by which `difference` knows that somebody else has changed it.
    """
    lines = (line.partition("  ") for line in sums.decode("utf-8", "replace").splitlines())
    found: dict[str, set[str]] = {}
    for digest, mark, name in lines:
        if mark and name:
            found.setdefault(name, set()).add(digest)
    safe = {name: frozenset(of_name) for name, of_name in found.items() if name != SUMS and is_safe_name(name)}
    return safe if len(safe) == len(found) else {**safe, SUMS: frozenset({_CHANGED})}


def sums_under_way(before: Listing, files: Mapping[str, LocalFile], uploaded: Iterable[str]) -> LocalFile:
    """The list while some of the files are uploaded: what was listed before, and the new digests of these."""
    digests = {name: set(of_name) for name, of_name in before.items()}
    for name in uploaded:
        digests.setdefault(name, set()).add(files[name].sha256)
    lines = (sum_line(one, name) for name in sorted(digests) if name != SUMS for one in sorted(digests[name]))
    return _of_bytes("".join(lines).encode())


def with_sum(sums: str, sha256: str) -> str:
    """The checksums of a package with that of its card: the license in it has changed the card."""
    line = sum_line(sha256, CARD)
    changed, number = re.subn(rf"^[0-9a-f]{{64}}  {re.escape(CARD)}\n", line, sums, flags=re.MULTILINE)
    return changed if number else sums + line


def _names_below(folder: Path) -> list[str]:
    found = []
    for place, folders, names in os.walk(folder):
        folders.sort()
        found += [(Path(place) / name).relative_to(folder).as_posix() for name in names]
    return sorted(found)


def _digested(path: Path) -> LocalFile:
    size = path.stat().st_size
    sha256, blob = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            sha256.update(block)
            blob.update(block)
    return LocalFile(size, sha256.hexdigest(), blob.hexdigest(), path=str(path))


def _of_bytes(data: bytes) -> LocalFile:
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    return LocalFile(len(data), sha256_of_bytes(data), blob, content=data)
