"""What a card is about, for a build that never ran."""

from __future__ import annotations

from typing import Any

from evidence_worlds import evidence

from onnxbuild.digest import Digest
from onnxbuild.onnx_files.onnx_outline import Outline
from onnxbuild.report.card.source_readme import SourceCard
from onnxbuild.report.card.subject import Folder, Origin, Subject
from onnxbuild.store.content import File

FORWARD = Outline(("input_ids", "attention_mask"), {"model.onnx_data": 8}, 18, (), ("last_hidden_state",))
STATED = SourceCard(license="mit", languages=("en", "no"), tags=("retrieval",), datasets=("org/rows",))


def folder(name: str, *, config: dict[str, Any] | None = None, **graphs: Outline) -> Folder:
    outlines = {f"{name}.onnx": one for name, one in (graphs or {"model": FORWARD}).items()}
    names = [*outlines, "config.json", "tokenizer.json", "tokenizer_config.json"]
    files = tuple(File(one, Digest("d" * 64), 1_500_000) for one in names)
    return Folder(name=name, files=files, graphs=outlines, config=config or {})


def subject(**changes: Any) -> Subject:
    """bert as fp32 and o2; int8 has failed, so it has no folder."""
    values: dict[str, Any] = {
        "model": "bert",
        "manifest": "toy.yaml",
        "evidence": evidence(),
        "folders": {"fp32": folder("fp32"), "o2": folder("o2")},
        "origins": (Origin(repo="org/bert", revision="c" * 40, digest="e" * 64),),
        "stated": STATED,
    }
    return Subject(**values | changes)
