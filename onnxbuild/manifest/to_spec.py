"""From sound sections to the values of a `Manifest`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

from onnxbuild.diagnostics import Span
from onnxbuild.manifest.document import Array, Table
from onnxbuild.manifest.sections import ModelEntry, Sections
from onnxbuild.manifest.spec import Dataset, Manifest, Model, Store, Target, Toolchain
from onnxbuild.permissions import Permissions
from onnxbuild.tables.choices import Choice, condition


def to_manifest(
    path: str,
    files: tuple[str, ...],
    sections: Sections,
    environment: Mapping[str, str],
    permissions: Permissions,
) -> Manifest:
    """The manifest that sound sections describe."""
    return Manifest(
        path=path,
        models=tuple(_model(one, sections.targets) for one in sections.models),
        datasets={name: _dataset(name, block) for name, block in sections.datasets.items()},
        toolchains={name: _toolchain(name, block) for name, block in sections.toolchains.items()},
        store=_store(sections.store),
        files=files,
        environment=environment,
        permissions=permissions,
        regressions={name: text for name, text in sections.regressions.items() if isinstance(text, str)},
        store_at=sections.store.value_span("path") if "path" in sections.store else None,
    )


def _model(model: ModelEntry, targets: Table) -> Model:
    return Model(
        name=model.name,
        source=model.block["source"],
        task=model.block.get("task") or None,
        toolchain=model.block.get("toolchain") or None,
        targets=tuple(_targets(model.block["targets"], targets)),
        block=model.block,
        span=model.at,
        adapter=model.block.get("adapter") or None,
        file=_names(model.block.get("file", ())),
        choice=_choice(model, [target.name for target in _targets(model.block["targets"], targets)]),
        idle=model.idle,
    )


def _choice(model: ModelEntry, targets: list[str]) -> Choice | None:
    written = model.block.get("select")
    if not isinstance(written, Table):
        return None
    largest = bool(written.get("maximize"))
    if not written.get("maximize" if largest else "minimize"):
        return None  # lint has said so
    read = (condition(name, text) for name, text in written.get("subject_to", {}).items())
    return Choice(
        model=model.name,
        figure=written["maximize" if largest else "minimize"],
        largest=largest,
        conditions=tuple(one for one in read if one is not None),
        targets=tuple(targets),
    )


def _names(written: str | Sequence[str]) -> tuple[str, ...]:
    """One name or a list of them."""
    return (written,) if isinstance(written, str) else tuple(dict.fromkeys(written))


def _targets(written: Array, shared: Table) -> Iterator[Target]:
    for entry, at in zip(written, written.items_at, strict=True):
        if isinstance(entry, Table):
            yield _target(entry["name"], entry, entry.value_span("name"))
        else:
            yield _target(entry, shared[entry], at)


def _target(name: str, block: Table, span: Span) -> Target:
    return Target(name=name, device=block.get("device", "cpu"), block=block, span=span)


def _store(block: Table) -> Store:
    return Store(
        path=block.get("path"),
        remote=block.get("remote"),
        readonly=bool(block.get("readonly", False)),
        sign=_key_file(block),
        trust=tuple(block.get("trust", ())),
        spans={key: block.value_span(key) for key in block},
        trust_spans=tuple(block["trust"].items_at) if "trust" in block else (),
    )


def _key_file(block: Table) -> str | None:
    """The private key itself, or the path of its file, which is relative to the file that names it."""
    written: str | None = block.get("sign") or None
    if written is None or written.startswith("secret:"):
        return written
    folder = os.path.dirname(os.path.abspath(block.value_span("sign").source.path))
    return os.path.normpath(os.path.join(folder, os.path.expanduser(written)))


def _toolchain(name: str, block: Table) -> Toolchain:
    return Toolchain(
        name=name,
        requirements=tuple(block.get("requirements", ())),
        python=interpreter_path(block),
        span=block.span,
        sdist=tuple(block.get("sdist", ())),
    )


def interpreter_path(block: Table) -> str | None:
    """The interpreter that a toolchain names; it is relative to the file in which it is written.

    Links are not resolved: the interpreter of a virtual environment is a link to that of the system.
    """
    python = block.get("python") or None
    folder = os.path.dirname(os.path.abspath(block.span.source.path))
    return python and os.path.normpath(os.path.join(folder, os.path.expanduser(python)))


def _dataset(name: str, block: Table) -> Dataset:
    source = block["source"]
    return Dataset(
        name=name,
        source=source if isinstance(source, str) else tuple(source),
        files=block.get("files"),
        columns=block.get("columns", {}),
        limit=block.get("limit"),
        seed=block.get("seed", 0),
        span=block.value_span("source"),
    )
