"""The card of a package: what its kind has written, with the license, the base model, and what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from onnxbuild.publishing.card_license import parts_of_card
from onnxbuild.report.card.card_page import joined, measured, pinned, source_in_words
from onnxbuild.report.card.limits import limits
from onnxbuild.report.card.metadata import as_yaml, metadata
from onnxbuild.report.card.source_readme import plain_metadata
from onnxbuild.report.card.subject import Subject
from onnxbuild.report.evidence.figure_tables import variant_table
from onnxbuild.report.markdown_text import block, code, escaped, table
from onnxbuild.tables.publishing.hub_tasks import hub_task

_LIBRARY = "onnx"  # of a package whose kind names none


def package_card(subject: Subject, package: str, own: str) -> str:
    """The whole text. `own`: the card that the package came with, empty if its kind writes none."""
    head, body = parts_of_card(own)
    text = body.strip("\n") or "\n\n".join(_description(subject, package))
    parts = [
        text,
        "## Targets",
        _targets(subject),
        *measured(subject),
        "## Limits",
        *(f"- {line}" for line in limits(subject)),
        "## Provenance",
        *(f"- source: {source_in_words(origin)}{pinned(origin)}" for origin in subject.origins),
        "`onnxbuild.json` has every step, parameter, digest and measurement; `onnxbuild verify DIR` checks a download.",
    ]
    return f"---\n{as_yaml(_merged(plain_metadata(head), subject))}---\n\n{joined(parts)}"


def _merged(own: Mapping[str, Any], subject: Subject) -> dict[str, Any]:
    """The metadata of both. What the kind of the package states counts, and tags are those of both."""
    known = metadata(subject, _LIBRARY)
    written = own.get("tags")
    tags = [one for one in written if isinstance(one, str)] if isinstance(written, list) else []
    return {**known, **own, "tags": list(dict.fromkeys([*tags, *known.get("tags", ())]))}


def _description(subject: Subject, package: str) -> Iterator[str]:
    yield f"# {escaped(subject.model)} (ONNX)"
    sources = " with ".join(map(source_in_words, subject.origins)) or "a model"
    task = f" for {escaped(subject.task)}" if subject.task else ""
    yield f"ONNX versions of {sources}{task}, built with onnxbuild."
    row = hub_task(subject.task)
    if package == "plain" and row is not None and row.optimum:
        lines = f'from optimum.onnxruntime import {row.optimum}\n\nmodel = {row.optimum}.from_pretrained(".")'
        yield block("python", lines)


def _targets(subject: Subject) -> str:
    """One row per target whose graph is in the package."""
    shown = variant_table(subject.evidence)
    rows = [
        [code(one.target), escaped(one.row.verdict or "none"), *(escaped(cell.text) for cell in row[1:])]
        for one, row in zip(subject.variants, shown.rows, strict=True)
    ]
    return table(["target", "validation", *map(escaped, shown.head[1:])], rows)
