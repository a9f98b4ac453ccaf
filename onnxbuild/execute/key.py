"""Keys: the digest of everything that an action's result depends on, computed from one value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from onnxbuild.digest import Digest, digest_value
from onnxbuild.machine import Machine


class KeyParts(Struct, frozen=True, kw_only=True):
    """Everything that a result depends on, and nothing else.

    `inputs`: digest of the tree at each port; `packages`: version of each distribution that the kind declares, as
    installed where the action runs; `toolchain`: the interpreter; `machine`: only for kinds that measure.
    """

    kind: str
    version: int
    params: Mapping[str, Any]
    inputs: Mapping[str, Digest]
    packages: Mapping[str, str]
    toolchain: Mapping[str, str]
    machine: Machine | None = None

    @property
    def key(self) -> Digest:
        """The digest of all parts."""
        return digest_value(self)


_EMPTY = '""'


def flatten(parts: Mapping[str, Any], prefix: str = "") -> Mapping[str, Any]:
    """Nested mappings as one, with dotted names: {"params": {"bits": 4}} is {"params.bits": 4}.

    An empty name, such as the role of a package's first graph, is written as `""`.
    """
    flat: dict[str, Any] = {}
    for name, value in parts.items():
        part = f"{prefix}{name or _EMPTY}"
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{part}."))
        else:
            flat[part] = value
    return flat
