"""The difference between the files to upload and those at the destination, by digest."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from onnxbuild.publishing.uploaded_files import ACCOUNT, SUMS, Listing, LocalFile, Upload


class RemoteFile(Struct, frozen=True):
    """A file at the destination. The Hub gives the sha256 of a large file, and the id in git (`blob`) of any other."""

    size: int
    sha256: str = ""
    blob: str = ""

    def equals(self, local: LocalFile) -> bool:
        """Whether both have the same content."""
        return self.sha256 == local.sha256 if self.sha256 else self.blob == local.blob


class Difference(Struct, frozen=True):
    """What a publish changes, as sizes by name.

    `foreign`: files that somebody else has written or changed since the last publish, and that this one replaces,
    deletes or would take for its own. `other`: what else speaks against it, such as the publication of another model.
    """

    added: Mapping[str, int]
    replaced: Mapping[str, int]
    deleted: Mapping[str, int]
    unchanged: Mapping[str, int]
    foreign: tuple[str, ...] = ()
    other: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether the destination has everything already."""
        return not (self.added or self.replaced or self.deleted)

    @property
    def uploaded(self) -> tuple[str, ...]:
        """The names of the files to send."""
        return (*self.added, *self.replaced)


def difference(upload: Upload, remote: Mapping[str, RemoteFile], before: Listing | None) -> Difference:
    """Compare an upload with the files at the destination.

    `before`: the digests that the last publish listed there, None if there was none. Only files in this list are
    deleted. A replaced or deleted file is foreign if its content is neither a listed one nor the new one. So is an
    equal one that is not listed: the new list would have it, and the next publish would replace it.

    Another `onnxbuild.json` alone is no difference: the one at the destination tells how the same files were made.
    """
    files, before = upload.files, before or {}
    replaced = [name for name, file in files.items() if name in remote and not remote[name].equals(file)]
    if _is_same_content(upload, remote, before):
        replaced = []
    deleted = [name for name in before if name in remote and name not in files]
    unchanged = {name: file.size for name, file in files.items() if name in remote and name not in replaced}
    touched = (name for name in (*replaced, *deleted) if _is_foreign(name, remote[name], before))
    taken = (name for name in unchanged if name != SUMS and name not in before)
    return Difference(
        added={name: file.size for name, file in files.items() if name not in remote},
        replaced={name: files[name].size for name in replaced},
        deleted={name: remote[name].size for name in deleted},
        unchanged=unchanged,
        foreign=(*touched, *taken),
    )


def as_listed(remote: Mapping[str, RemoteFile]) -> Listing:
    """The digests of files that all came from the last publish, as it would list them."""
    return {name: frozenset({file.sha256}) for name, file in remote.items() if name != SUMS}


def _is_same_content(upload: Upload, remote: Mapping[str, RemoteFile], before: Listing) -> bool:
    """Whether the destination has everything, except for another `onnxbuild.json`, which nobody else has written."""
    account = {ACCOUNT, SUMS}
    if SUMS in before or not account <= upload.files.keys() <= remote.keys():
        return False
    others = {name: frozenset({file.sha256}) for name, file in upload.files.items() if name not in account}
    listed_others = {name: digests for name, digests in before.items() if name not in account}
    are_equal = listed_others == others and all(remote[name].equals(upload.files[name]) for name in others)
    return are_equal and frozenset({remote[ACCOUNT].sha256}) == before.get(ACCOUNT)


def _is_foreign(name: str, remote: RemoteFile, before: Listing) -> bool:
    """Whether somebody else wrote a file. Its sha256 must be known: that of a small file has to be read for this."""
    if name == SUMS:
        return SUMS in before  # it names files that are not below it
    return name not in before or bool(remote.sha256 and remote.sha256 not in before[name])
