"""The validated form of a manifest. Step blocks stay tables with spans; `plan.expand` makes params of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from onnxbuild.diagnostics import Span

if TYPE_CHECKING:  # these values are never decoded, and a run that plans from memory does without PyYAML
    from onnxbuild.manifest.document import Table


class Target(Struct, frozen=True, kw_only=True):
    """A recipe under the name that variants have. `block` holds `steps` or the short form, checks and measures."""

    name: str
    device: str
    block: Table
    span: Span  # where the model names it


class Model(Struct, frozen=True, kw_only=True):
    """One model, matrix and defaults applied. `block` is the whole block with spans (`block["export"]` …)."""

    name: str
    source: str | Table
    task: str | None
    toolchain: str | None
    targets: tuple[Target, ...]
    block: Table
    span: Span  # of its name


class Store(Struct, frozen=True, kw_only=True):
    """Where results are kept: a local folder, and a store that machines share."""

    path: str | None = None
    remote: str | None = None
    readonly: bool = False  # of the shared one


class Toolchain(Struct, frozen=True, kw_only=True):
    """An environment for workers: requirements for pip, or the absolute path of an interpreter."""

    name: str
    requirements: tuple[str, ...]
    python: str | None
    span: Span


class Dataset(Struct, frozen=True, kw_only=True):
    """Rows to check and measure with: a source text, or the rows themselves."""

    name: str
    source: str | tuple[Mapping[str, Any], ...]
    files: str | None
    columns: Mapping[str, str]
    limit: int | None
    seed: int
    span: Span  # of its source


class Manifest(Struct, frozen=True, kw_only=True):
    """What a person asked for. `files` and `environment` are all that reading it depended on."""

    path: str
    models: tuple[Model, ...]
    datasets: Mapping[str, Dataset]
    toolchains: Mapping[str, Toolchain]
    store: Store
    files: tuple[str, ...]  # the manifest and what it includes
    environment: Mapping[str, str]  # variables that were read, with values: secrets, to be redacted in all output
