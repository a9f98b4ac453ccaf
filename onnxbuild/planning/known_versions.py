"""Versions in a toolchain before it exists: from the lock, from its requirements, or from what is installed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from onnxbuild.manifest.spec import Manifest
from onnxbuild.needs.step_needs import Version
from onnxbuild.planning.interpreters.distributions import Distributions, own_distributions
from onnxbuild.planning.locked import Lock
from onnxbuild.planning.toolchains import normalized, toolchain_key
from onnxbuild.steps.compiling.qaic_backend import QEFFICIENT
from onnxbuild.steps.exporters import EXPORTERS, UNPINNED

# The versions that a plan may depend on. Others matter only to keys, and a runner reports them.
_NEEDED = (package for exporter in EXPORTERS.values() for package in exporter.needs)
_ASKED = tuple(dict.fromkeys((*_NEEDED, "sentence-transformers", "peft", QEFFICIENT)))
_REQUIRED = tuple(one.package for one in EXPORTERS.values() if one.requirement and not one.may_come_along)
_UNKNOWN = "not known"  # the version of what may be in a toolchain
_NAME = re.compile(r"[\w.-]+")
_PIN = re.compile(r"([\w.-]+)(?:\[[^\]]*\])?\s*==\s*([\w.+!-]+)\s*")


def known_versions(manifest: Manifest, lock: Lock, toolchain: str | None) -> Mapping[str, str]:
    """The versions that planning looks at, of a toolchain or of this interpreter. Unknown ones are left out."""
    if toolchain is None:
        return _installed(None)
    asked = manifest.toolchains[toolchain]
    if asked.python:
        folders = _folders_of(asked.python, manifest)
        marks = {QEFFICIENT: "absent"} if folders else {}  # an interpreter that is understood and does not have it
        return marks | dict(_installed(folders))
    locked = lock.toolchains.get(toolchain_key(asked.requirements, asked.sdist))
    if locked is not None:
        return {name: locked.version(name) for name in _ASKED}
    return _pinned(asked.requirements)


def version_in(manifest: Manifest, lock: Lock, toolchain: str) -> Version:
    """The look-up of any distribution in a toolchain; of one that planning cannot know, it says that it is there.

    Before a toolchain is locked, a distribution is absent if no requirement mentions it, and none has extras, which
    may bring anything along.
    """
    asked = manifest.toolchains[toolchain]
    locked = lock.toolchains.get(toolchain_key(asked.requirements, asked.sdist))
    if asked.python:
        folders = _folders_of(asked.python, manifest)
        return _or_none(Distributions(folders).released) if folders else lambda _name: _UNKNOWN
    if locked is not None:
        return _or_none(locked.version)
    return lambda name: None if _is_left_out(name, asked.requirements) else _UNKNOWN


def _or_none(version: Callable[[str], str]) -> Version:
    def found(name: str) -> str | None:
        known = version(name)
        return None if known == "absent" else known

    return found


def _is_left_out(name: str, requirements: Sequence[str]) -> bool:
    texts = [one.partition(";")[0] for one in requirements]
    return all("[" not in text and normalized(name) not in normalized(text) for text in texts)


def _folders_of(python: str, manifest: Manifest) -> tuple[str, ...]:
    """The site folders of an interpreter; none where it is missing or cannot be understood, which a plan reports."""
    from onnxbuild.planning.interpreters.site_folders import NotUnderstood, site_folders
    from onnxbuild.planning.interpreters.within_reach import readable_for

    try:
        return site_folders(python, may_read=readable_for(python, manifest)).folders
    except (FileNotFoundError, NotUnderstood):
        return ()


def _installed(path: Sequence[str] | None) -> Mapping[str, str]:
    installed = own_distributions() if path is None else Distributions(path)
    versions = {name: installed.released(name) for name in _ASKED}
    return {name: version for name, version in versions.items() if version != "absent"}


def _pinned(requirements: Sequence[str]) -> Mapping[str, str]:
    pins = (match for one in requirements if (match := _PIN.fullmatch(one.partition(";")[0].strip())))
    named = {normalized(match[1]): match[2] for match in pins}
    listed = {normalized(match[0]) for one in requirements if (match := _NAME.match(one))}
    # No package brings these along: without a requirement they are missing, and lint can say so before there is a lock.
    only_required = (*_REQUIRED, QEFFICIENT)
    marks = (
        {name: UNPINNED if normalized(name) in listed else "absent" for name in only_required} if requirements else {}
    )
    return marks | {name: named[normalized(name)] for name in _ASKED if normalized(name) in named}
