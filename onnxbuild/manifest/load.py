"""From a manifest file to a `Manifest`: read, join includes, check the structure, fill in, check across, build."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxbuild.diagnostics import Diagnostic, DiagnosticError, fault
from onnxbuild.manifest.checks.cross_checks import cross_checks, unreachable
from onnxbuild.manifest.document import Table
from onnxbuild.manifest.json_schema import Placed, manifest_schema, place_of, schemas_of
from onnxbuild.manifest.reach import Reach
from onnxbuild.manifest.reading.include import read_with_includes
from onnxbuild.manifest.secrets_in_store import Secrets
from onnxbuild.manifest.sections import read_sections
from onnxbuild.manifest.sound import sound
from onnxbuild.manifest.spec import Manifest
from onnxbuild.manifest.structure.structure_checker import Structure
from onnxbuild.manifest.structure.structure_words import Place
from onnxbuild.manifest.to_spec import to_manifest
from onnxbuild.permissions import Permissions
from onnxbuild.permissions import permissions as of_user

VERSION = 1


def load_manifest(
    path: str | Path,
    *,
    kinds: Mapping[str, Any],
    defines: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
    permissions: Permissions | None = None,
) -> Manifest:
    """The manifest in a file. `-D` values override its `vars:`; `environment` is this process's by default.

    `permissions`: what it may reach beyond its folder; by default, what the user's environment and configuration allow.
    Errors: DiagnosticError with every fault that can be found without looking at models.
    """
    manifest, faults = read_manifest(
        path, kinds=kinds, defines=defines, environment=environment, permissions=permissions
    )
    if faults:
        raise DiagnosticError(faults)
    return manifest


def read_manifest(
    path: str | Path,
    *,
    kinds: Mapping[str, Any],
    defines: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
    permissions: Permissions | None = None,
) -> tuple[Manifest, list[Diagnostic]]:
    """The sound part of the manifest in a file, and its faults: lint continues with the sound models.

    Errors: DiagnosticError if a fault prevents reading the rest.
    """
    faults: list[Diagnostic] = []
    permissions = of_user() if permissions is None else permissions
    reach = Reach(str(path), permissions)
    try:
        document, files = read_with_includes(str(path), reach, faults)
        _check_version(document)
    except DiagnosticError as error:
        raise DiagnosticError(in_order([*faults, *error.diagnostics])) from None
    structure = structure_of(kinds)
    faults += structure.faults(document, Place(document.span, document.span))
    secrets = Secrets(os.environ if environment is None else environment, permissions)
    sections = read_sections(document, structure, faults, defines=defines or {}, secrets=secrets)
    faults += list(cross_checks(sections, resolved=not faults))
    faults += unreachable(sections, reach)
    if faults:
        sections = sound(sections, structure, reach)
    return to_manifest(str(path), files, sections, secrets.used, permissions), in_order(faults)


def structure_of(kinds: Mapping[str, Any]) -> Structure:
    """The structure of manifests with these step kinds, made once: it takes longer than reading a manifest."""
    return _structure(tuple((name, kind.params, place_of(kind)) for name, kind in kinds.items()))


@functools.lru_cache(maxsize=4)
def _structure(placed: tuple[Placed, ...]) -> Structure:
    return Structure(manifest_schema(schemas_of(placed)))


def in_order(faults: list[Diagnostic]) -> list[Diagnostic]:
    """Faults by place, each once (a fault in a matrix model or a shared target is found at every use)."""

    def place(one: Diagnostic) -> tuple[Any, ...]:
        return (one.span.source.path, one.span.line, one.span.column) if one.span else ("", 0, 0)

    unique = {(place(one), one.code, one.message): one for one in reversed(faults)}
    return sorted(unique.values(), key=lambda one: (place(one), one.code, one.message))


def _check_version(document: Table) -> None:
    version = document.get("onnxbuild", VERSION)
    if isinstance(version, int) and version != VERSION:
        message = f"language version {version} is not known: this onnxbuild reads version {VERSION}"
        hint = "install a newer onnxbuild" if version > VERSION else f"write `onnxbuild: {VERSION}`"
        raise DiagnosticError(fault("OB030", message, span=document.value_span("onnxbuild"), hint=hint))
