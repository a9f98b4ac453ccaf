"""The difference between a package and its destination as text: a line for each file that changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from onnxbuild.publishing.planned_upload import PlannedUpload
from onnxbuild.publishing.uploaded_files import SIGNATURE
from onnxbuild.report.publishing.published_text import WITHOUT_SIGNATURE
from onnxbuild.report.wording import counted, size_in_words

_INDENT = " " * 2
_VERB = 9


def upload_lines(upload: PlannedUpload) -> Iterator[str]:
    """The heading, why it would be refused, each file that would change with its size, and what stays."""
    yield upload.heading
    changes = upload.difference
    if changes is None:
        return
    if upload.refused is not None:
        yield f"{_INDENT}refused (OBE205) without `overwrite: true`: {upload.refused}"
    for verb, files in (("add", changes.added), ("replace", changes.replaced), ("delete", changes.deleted)):
        yield from _listed(verb, files, changes.foreign)
    taken = {name: changes.unchanged[name] for name in changes.foreign if name in changes.unchanged}
    yield from _listed("equal", taken, changes.foreign)
    if changes.unchanged:
        size = size_in_words(sum(changes.unchanged.values()))
        yield f"{_INDENT}{'unchanged':<{_VERB}} {counted(len(changes.unchanged), 'file')}, {size}"


def _listed(verb: str, files: Mapping[str, int], foreign: tuple[str, ...]) -> Iterator[str]:
    for name, size in sorted(files.items()):
        yield f"{_INDENT}{verb:<{_VERB}} {name}  {size_in_words(size)}{_remark(verb, name, foreign)}"


def _remark(verb: str, name: str, foreign: tuple[str, ...]) -> str:
    if name in foreign and verb == "equal":
        return "  (no publish has written it)"
    if name in foreign:
        return "  (somebody has changed it since the last publish)"
    return f"  ({WITHOUT_SIGNATURE})" if (verb, name) == ("delete", SIGNATURE) else ""
