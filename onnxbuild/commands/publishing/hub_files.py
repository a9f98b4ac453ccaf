"""Lists the files of a repository on the Hub with their digests, for the comparison before a publish."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from onnxbuild.diagnostics import DiagnosticError
from onnxbuild.planning.hub import Hub
from onnxbuild.publishing.difference import RemoteFile

_MAIN = "main"


def files_on(hub: Hub, repo: str) -> tuple[str, Mapping[str, RemoteFile]] | None:
    """The commit of `main` and its files; None for a repository that does not exist. Errors: DiagnosticError OB110."""
    try:
        commit = hub.resolve(repo, _MAIN).commit
    except DiagnosticError as error:
        if any("does not exist" in one.message for one in error.diagnostics):
            return None
        raise
    answer = hub.listing(f"/api/models/{quote(repo)}/tree/{commit}?recursive=true", repo, commit)
    files = (one for one in answer if isinstance(one, dict) and one.get("type") == "file")
    return commit, {str(one["path"]): _file(one) for one in files}


def _file(entry: Mapping[str, Any]) -> RemoteFile:
    large = entry.get("lfs")
    if isinstance(large, Mapping):
        return RemoteFile(int(entry.get("size", 0)), sha256=str(large.get("oid", "")))
    return RemoteFile(int(entry.get("size", 0)), blob=str(entry.get("oid", "")))
