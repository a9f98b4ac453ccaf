"""Whose publication a destination has: its model, its source and its manifest, as `onnxbuild.json` there names them.

The digest of the content cannot tell it, because each new version of a model has another one. Neither can the folder
of a local source: each training run may have its own. The address of the git repository would tell two projects
apart, but a fork or a mirror has another one and publishes the same model.

Only what both sides state is compared. An `onnxbuild.json` of an earlier version names no manifest, and outside a
repository a manifest is known by its file name alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from onnxbuild.printable import printable
from onnxbuild.publishing.uploaded_files import ACCOUNT, Upload

TOP = "./"  # before the path of a manifest that begins at the top of its repository

_NAMES = ("repository", "architecture", "package")  # of a source, by its kind


class _Publication(Struct, frozen=True):
    """Empty texts stand for what is not stated."""

    model: str = ""
    source: str = ""
    manifest: str = ""


def other_publication(there: bytes | None, upload: Upload) -> str:
    """How the `onnxbuild.json` at a destination differs in origin from that of an upload; empty if it does not."""
    if there is None or ACCOUNT not in upload.files:
        return ""
    one, other = _publication(there), _publication(upload.files[ACCOUNT].read())
    if _differ(one.model, other.model):
        return f"has a publication of the model `{one.model}`, and this one is of `{other.model}`"
    if _differ(one.source.casefold(), other.source.casefold()):
        return f"has a publication of `{one.model}` from `{one.source}`, and this one is from `{other.source}`"
    if one.manifest and other.manifest and not _may_be_same(one.manifest, other.manifest):
        return f"has a publication of `{one.model}` by `{one.manifest}`, and this one is by `{other.manifest}`"
    return ""


def _differ(one: str, other: str) -> bool:
    return bool(one and other and one != other)


def _may_be_same(one: str, other: str) -> bool:
    """Whether two manifests may be one: their paths are equal, or one is a file name alone, which the other has too."""
    if one.startswith(TOP) and other.startswith(TOP):
        return one == other
    return one.rpartition("/")[2] == other.rpartition("/")[2]


def _publication(account: bytes) -> _Publication:
    try:
        stated = json.loads(account)
    except (ValueError, RecursionError):
        return _Publication()
    if not isinstance(stated, dict):
        return _Publication()
    return _Publication(_text(stated, "model"), _source(stated.get("sources")), _text(stated, "manifest"))


def _source(stated: Any) -> str:
    """The first source, which is the model's own: `hub:owner/name`. Empty for a folder."""
    first = stated[0] if isinstance(stated, list) and stated else None
    if not isinstance(first, dict):
        return ""
    name = next(filter(None, (_text(first, key) for key in _NAMES)), "")
    return f"{_text(first, 'kind')}:{name}" if name else ""


def _text(stated: Mapping[str, Any], key: str) -> str:
    value = stated.get(key)
    return printable(value) if isinstance(value, str) else ""
