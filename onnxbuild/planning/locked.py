"""The content of the lock file, as values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from onnxbuild.planning.toolchains import LockedToolchain


class LockedSource(Struct, frozen=True, forbid_unknown_fields=True):
    """A Hub repository at one commit. For a dataset, `files` are only the files of rows.

    `config` is its config.json without long tables of labels, or None if it has no config.json.
    """

    commit: str
    files: tuple[str, ...] = ()
    config: Mapping[str, Any] | None = None
    adapter: Mapping[str, Any] | UnsetType = UNSET  # adapter_config.json, where the repository has one
    license: str | UnsetType = UNSET  # what the repository's card states, where it does
    license_name: str | UnsetType = UNSET  # the card's words for a license that is `other`, and its address
    license_link: str | UnsetType = UNSET


class Lock(Struct, frozen=True, forbid_unknown_fields=True):
    """Locked sources by `hub:repo@revision`."""

    version: int = 1
    sources: Mapping[str, LockedSource] = {}
    toolchains: Mapping[str, LockedToolchain] = {}  # by requirements, Python and platform


Resolve = Callable[[str, str], LockedSource]  # (repository, revision) → commit; errors: DiagnosticError
