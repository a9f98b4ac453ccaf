"""What the source of a model states about itself, from files that planning may read and from the lock."""

from __future__ import annotations

import os
from collections.abc import Iterator

from onnxbuild.manifest.document import Table
from onnxbuild.planning.action_graph import FilesSource, Stated
from onnxbuild.planning.local_files import LocalFiles
from onnxbuild.planning.lock_file import hub_key
from onnxbuild.planning.locked import Lock
from onnxbuild.planning.origins.source_license import (
    LICENSE_FILES,
    OtherLicense,
    license_name,
    license_of_readme,
    license_of_text,
    other_license,
    other_license_of_readme,
)
from onnxbuild.planning.sources import Fetched
from onnxbuild.regular_files import read_regular

_README = "README.md"
_MOST_BYTES = 4 << 20


def stated(source: str | Table, fetched: Fetched, lock: Lock, local: LocalFiles) -> Stated:
    """What is known of a source. A link among its files is followed only where those of its weights may be."""
    if isinstance(source, Table):
        return Stated(scheme="random")
    scheme, _, rest = source.partition(":")
    if scheme == "hub":
        entry = lock.sources.get(hub_key(rest))
        named = license_name(entry.license) if entry is not None else None
        where = "the card on the Hub" if named else None
        other = other_license(named, entry.license_name, entry.license_link) if entry is not None else OtherLicense()
        return Stated(
            scheme=scheme, license=named, license_from=where, license_name=other.name, license_link=other.link
        )
    files = fetched.inputs.get("files")
    # The folder of a single graph may be anything, so what it states is not about the graph.
    is_folder = isinstance(files, FilesSource) and not (scheme == "onnx" and os.path.basename(rest) in files.files)
    found = next(_local(files.root, local), None) if isinstance(files, FilesSource) and is_folder else None
    in_config = license_name((fetched.config or {}).get("license"))
    name, where, other = found or (in_config, "config.json" if in_config else None, OtherLicense())
    return Stated(
        scheme=scheme,
        package=rest.partition("/")[0] if scheme == "package" else "",
        license=name,
        license_from=where,
        license_name=other.name,
        license_link=other.link,
    )


def _local(root: str, local: LocalFiles) -> Iterator[tuple[str, str, OtherLicense]]:
    """The licenses that the files of a folder state, and the names of these files."""
    for name in (_README, *LICENSE_FILES):
        path = os.path.join(root, name)
        if not (os.path.lexists(path) and local.may_look_at(root, name)):
            continue
        try:
            data = read_regular(os.path.realpath(path), _MOST_BYTES)
        except OSError:
            continue
        local.files[path] = None
        is_card = name == _README
        found = license_of_readme(data) if is_card else license_of_text(data)
        if found is not None:
            yield found, name, other_license_of_readme(data) if is_card else OtherLicense()
