"""What a card is about, for a build that never ran, and the Hub's own reading of a card."""

from __future__ import annotations

from typing import Any

import requests
from evidence_worlds import evidence
from hub_server import HubServer

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


class Redirected(requests.Session):
    """A session whose requests to the Hub reach the server of a test."""

    def __init__(self, hub: HubServer) -> None:
        super().__init__()
        self.hub = hub

    def request(self, method: str, url: str, *arguments: Any, **more: Any) -> requests.Response:  # type: ignore[override]
        assert url.startswith("https://huggingface.co/"), url
        return super().request(method, url.replace("https://huggingface.co", self.hub.endpoint), *arguments, **more)
