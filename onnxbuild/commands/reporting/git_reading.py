"""Plain reading of git: no hook, no monitor of files, no filter, and no fetch of what a partial clone lacks."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

_GIT = ("git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "protocol.allow=never")
_FILE_MODES = frozenset({"100644", "100755"})  # neither links nor submodules
_AT_ONCE = 1 << 20


class GitError(Exception):
    """Git could not say what was asked; the message is its reason."""


class Blob(NamedTuple):
    """A regular file of a revision: its name below the folder that was asked about, and its object."""

    name: str
    object: str


def output_of(arguments: Sequence[str], folder: str | Path = ".") -> bytes:
    """What a command of git prints. Errors: GitError."""
    try:
        done = subprocess.run(
            [*_GIT, *arguments], cwd=folder, capture_output=True, check=False, stdin=subprocess.DEVNULL
        )
    except OSError as error:
        raise GitError(f"git cannot be started: {error.strerror}") from None
    if done.returncode:
        raise GitError(done.stderr.decode(errors="replace").strip().removeprefix("fatal: ") or "git failed")
    return done.stdout


def commit_of(revision: str, folder: Path) -> str | None:
    """The commit that a revision names in the repository of a folder; None if it names none."""
    if not revision or revision.startswith("-"):
        return None
    try:
        return output_of(["rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}"], folder).decode().strip()
    except GitError:
        return None


def blobs_of(commit: str, folder: Path) -> list[Blob]:
    """The regular files below a folder, as a commit has them. Errors: GitError."""
    entries = output_of(["ls-tree", "-r", "-z", commit], folder).decode(errors="surrogateescape").split("\0")
    heads = (entry.partition("\t") for entry in entries if entry)
    blobs = [Blob(name, head.split()[2]) for head, _, name in heads if head.split()[0] in _FILE_MODES]
    if any(part in {"", ".", ".."} for blob in blobs for part in blob.name.replace("\\", "/").split("/")):
        raise GitError("a name in it leads out of its folder")
    return blobs


def untracked_in(folder: Path) -> list[str]:
    """The files and folders of which git tracks nothing, ignored ones among them. Errors: GitError."""
    listed = output_of(["ls-files", "--others", "--directory", "-z"], folder)
    return [name.rstrip("/") for name in listed.decode(errors="surrogateescape").split("\0") if name.rstrip("/")]


def write_blobs(blobs: Sequence[Blob], folder: Path, into: Path) -> None:
    """Write the files of a revision below another folder, as git has them. Errors: GitError, OSError."""
    for blob, content in _contents(blobs, folder):
        path = into / blob.name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            for part in content:
                file.write(part)


def _contents(blobs: Sequence[Blob], folder: Path) -> Iterator[tuple[Blob, Iterator[bytes]]]:
    with tempfile.TemporaryFile() as asked:  # a pipe would fill up while git waits for its own to be read
        asked.writelines(f"{blob.object}\n".encode() for blob in blobs)
        asked.seek(0)
        command = [*_GIT, "cat-file", "--batch"]
        with subprocess.Popen(command, cwd=folder, stdin=asked, stdout=subprocess.PIPE) as git:
            assert git.stdout is not None, "BUG: git without its output"
            for blob in blobs:
                head = git.stdout.readline().split()
                if len(head) != 3 or head[1] != b"blob":  # noqa: PLR2004 - object, type, size
                    raise GitError(f"`{blob.name}` is missing in the repository")
                yield blob, _parts(git.stdout, int(head[2]))
                git.stdout.read(1)  # the line break after each


def _parts(stream: IO[bytes], size: int) -> Iterator[bytes]:
    while size > 0:
        part = stream.read(min(size, _AT_ONCE))
        if not part:
            raise GitError("git ended early")
        size -= len(part)
        yield part
