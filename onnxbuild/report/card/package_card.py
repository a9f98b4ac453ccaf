"""The card of a package: what its kind has written, with the license, the base model, and what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from onnxbuild.publishing.card_license import parts_of_card
from onnxbuild.report.card.card_page import joined, measured, pinned, source_in_words
from onnxbuild.report.card.limits import limits
from onnxbuild.report.card.metadata import as_yaml, metadata
from onnxbuild.report.card.package_snippets import Contents, loading, package_library, places
from onnxbuild.report.card.source_readme import plain_metadata
from onnxbuild.report.card.subject import Subject
from onnxbuild.report.evidence.figure_tables import variant_table
from onnxbuild.report.markdown_text import code, escaped, table
from onnxbuild.report.result.figures import NONE


def package_card(subject: Subject, contents: Contents, own: str) -> str:
    """The whole text. `own`: the card that the package came with, empty if its kind writes none."""
    head, body = parts_of_card(own)
    text = body.strip("\n") or "\n\n".join(_description(subject, contents))
    parts = [
        text,
        "## Targets",
        _targets(subject, contents),
        *measured(subject),
        "## Limits",
        *(f"- {line}" for line in limits(subject)),
        "## Provenance",
        *(f"- source: {source_in_words(origin)}{pinned(origin)}" for origin in subject.origins),
        "`onnxbuild.json` has every step, parameter, digest and measurement; `onnxbuild verify DIR` checks a download.",
    ]
    merged = _merged(plain_metadata(head), metadata(subject, package_library(subject, contents)))
    return f"---\n{as_yaml(merged)}---\n\n{joined(parts)}"


def _merged(own: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of both. What the kind of the package states counts, and tags are those of both."""
    written = own.get("tags")
    tags = [one for one in written if isinstance(one, str)] if isinstance(written, list) else []
    return {**known, **own, "tags": list(dict.fromkeys([*tags, *known.get("tags", ())]))}


def _description(subject: Subject, contents: Contents) -> Iterator[str]:
    what = "compiled" if contents.kind == "compiled" else "ONNX"
    yield f"# {escaped(subject.model)} ({what})"
    sources = " with ".join(map(source_in_words, subject.origins)) or "a model"
    task = f" for {escaped(subject.task)}" if subject.task else ""
    versions = "Compiled versions" if contents.kind == "compiled" else "ONNX versions"
    yield f"{versions} of {sources}{task}, built with onnxbuild."
    yield from loading(subject, contents)


def _targets(subject: Subject, contents: Contents) -> str:
    """One row per target whose graph is in the package, with its place if the kind does not say it elsewhere."""
    shown, where = variant_table(subject.evidence), places(contents)
    rows = [
        [
            code(one.target),
            *([where.get(one.target, NONE)] if where else []),
            escaped(one.row.verdict or "none"),
            *(escaped(cell.text) for cell in row[1:]),
        ]
        for one, row in zip(subject.variants, shown.rows, strict=True)
    ]
    return table(["target", *(["files"] if where else []), "validation", *map(escaped, shown.head[1:])], rows)
