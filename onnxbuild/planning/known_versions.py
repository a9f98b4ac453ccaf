"""Versions in a toolchain before it exists: from the lock, from its requirements, or from what is installed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from glob import escape, glob
from importlib import metadata

from onnxbuild.manifest.spec import Manifest
from onnxbuild.planning.locked import Lock
from onnxbuild.planning.toolchains import normalized, toolchain_key
from onnxbuild.steps.exporters import EXPORTERS

# The versions that a plan may depend on. Others matter only to keys, and a runner reports them.
_NEEDED = (package for exporter in EXPORTERS.values() for package in exporter.needs)
_ASKED = tuple(dict.fromkeys((*_NEEDED, "sentence-transformers")))
_PIN = re.compile(r"([\w.-]+)(?:\[[^\]]*\])?\s*==\s*([\w.+!-]+)\s*")


def known_versions(manifest: Manifest, lock: Lock, toolchain: str | None) -> Mapping[str, str]:
    """The versions that planning looks at, of a toolchain or of this interpreter. Unknown ones are left out."""
    if toolchain is None:
        return _installed(None)
    asked = manifest.toolchains[toolchain]
    if asked.python:
        folder = os.path.dirname(os.path.dirname(os.path.abspath(asked.python)))
        return _installed(glob(os.path.join(escape(folder), "lib", "python3*", "site-packages")))
    locked = lock.toolchains.get(toolchain_key(asked.requirements, asked.sdist))
    if locked is not None:
        return {name: locked.version(name) for name in _ASKED}
    return _pinned(asked.requirements)


def _installed(path: list[str] | None) -> Mapping[str, str]:
    versions: dict[str, str] = {}
    for name in _ASKED:
        all_of_name = (
            metadata.distributions(name=name) if path is None else metadata.distributions(name=name, path=path)
        )
        distribution = next(iter(all_of_name), None)
        if distribution is not None:
            versions[name] = distribution.version
    return versions


def _pinned(requirements: Iterable[str]) -> Mapping[str, str]:
    pins = (match for one in requirements if (match := _PIN.fullmatch(one.partition(";")[0].strip())))
    named = {normalized(match[1]): match[2] for match in pins}
    return {name: named[name] for name in _ASKED if name in named}
