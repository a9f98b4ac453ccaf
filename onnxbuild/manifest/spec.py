"""The validated form of a manifest. Step blocks stay tables with spans; planning converts them to params."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from onnxbuild.diagnostics import Span
from onnxbuild.manifest.checks.idle_keys import IdleKey
from onnxbuild.manifest.document import Table
from onnxbuild.permissions import Permissions
from onnxbuild.tables.choices import Choice


class Target(Struct, frozen=True, kw_only=True):
    """A recipe under the name that its variants get. `block` holds the steps, checks and measures as written."""

    name: str
    device: str
    block: Table
    span: Span  # where the model names it


class Model(Struct, frozen=True, kw_only=True):
    """One model, with matrix and defaults applied. `block` is the whole block with spans (`block["export"]` …)."""

    name: str
    source: str | Table
    task: str | None
    toolchain: str | None
    targets: tuple[Target, ...]
    block: Table
    span: Span  # of its name
    adapter: str | None = None  # the adapter to merge into the source, or `none`
    file: tuple[str, ...] = ()  # the graphs to take from a source that has several
    choice: Choice | None = None  # of its best variant
    idle: tuple[IdleKey, ...] = ()  # keys that ask for nothing


class Store(Struct, frozen=True, kw_only=True):
    """Where results are kept: a local folder, and optionally a store that machines share."""

    path: str | None = None
    remote: str | None = None
    readonly: bool = False  # whether the shared store is only read
    sign: str | None = None  # the private key that signs what is written, or the absolute path of its file
    trust: tuple[str, ...] = ()  # public keys; if there are any, only what they signed is taken
    spans: Mapping[str, Span] = {}  # of the values, by key
    trust_spans: tuple[Span, ...] = ()  # of each public key


class Toolchain(Struct, frozen=True, kw_only=True):
    """A Python environment for workers: requirements for pip, or the absolute path of an interpreter."""

    name: str
    requirements: tuple[str, ...]
    python: str | None
    span: Span
    sdist: tuple[str, ...] = ()  # packages that pip may build from source; all others come as wheels


class Dataset(Struct, frozen=True, kw_only=True):
    """Rows of data for calibration and checks: a source text, or the rows themselves."""

    name: str
    source: str | tuple[Mapping[str, Any], ...]
    files: str | None
    columns: Mapping[str, str]
    limit: int | None
    seed: int
    span: Span  # of its source


class Manifest(Struct, frozen=True, kw_only=True):
    """What a person asked for. Reading it depended only on `files` and `environment`."""

    path: str
    models: tuple[Model, ...]
    datasets: Mapping[str, Dataset]
    toolchains: Mapping[str, Toolchain]
    store: Store
    files: tuple[str, ...]  # the manifest and what it includes
    environment: Mapping[str, str]  # variables that were read: secrets, which all output must redact
    permissions: Permissions = Permissions()  # what the user allows the manifest to reach
    regressions: Mapping[str, str] = {}  # by figure: how much worse it may be than in an earlier build
    store_at: Span | None = None  # where the path of the store is written
