"""One search over all graphs of a model, whose result each file takes its part of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from msgspec.structs import replace
from onnx import ModelProto

from onnxbuild.protocol import CheckFailed, Tell
from onnxbuild.steps.quantize import QuantizeParams
from onnxbuild.workers.calibrate.feeds import Feeds, calibrating
from onnxbuild.workers.folders.journal import Journal
from onnxbuild.workers.graphs.angles.angle_products import angles
from onnxbuild.workers.graphs.graph_files import load_model
from onnxbuild.workers.measuring.output_scores import OF_FILE
from onnxbuild.workers.quantize.prepared import prepare
from onnxbuild.workers.quantize.search.joined import Joined, in_file, joined, joined_feeds, of_file, split, twins
from onnxbuild.workers.quantize.search.judged import kept
from onnxbuild.workers.quantize.search.search import Rows, search
from onnxbuild.workers.quantize.smoothing.smooth import smooth

OfFile = Callable[[str], Iterable[Feeds]]


class _Found(NamedTuple):
    """The quantized graph of all files, and the facts of smoothing and of the search."""

    model: ModelProto
    facts: Mapping[str, Any]


class Together(NamedTuple):
    """What a search over all files takes; `found` holds its result once it was made."""

    source: Path
    names: Sequence[str]
    params: QuantizeParams
    feeds: OfFile
    judges: OfFile
    tell: Tell
    journal: Journal
    found: list[_Found]

    def of(self, name: str, original: ModelProto, scratch: Path) -> tuple[ModelProto, dict[str, Any]]:
        """The quantized graph of a file, and its facts. `original`: the file, prepared.

        Errors: CheckFailed OBE151 for files that are no chain, and those of `search`.
        """
        if not self.found:
            self.found.append(self._searched(scratch))
        found = self.found[0]
        return split(found.model, name, original), {key: _facts_of(name, part) for key, part in found.facts.items()}

    def _searched(self, scratch: Path) -> _Found:
        one = self._joined()
        exclude = tuple(in_file(file, node) for file in one.files for node in self.params.exclude)
        params = replace(self.params, exclude=(*exclude, *angles(one.model)))
        facts: dict[str, Any] = {}
        if params.smooths:
            facts["smoothing"] = smooth(one.model, params, lambda: joined_feeds(one, self.feeds), scratch, {})
        with calibrating():
            rows = Rows(kept(joined_feeds(one, self.feeds)), kept(joined_feeds(one, self.judges)))
        model, facts["search"] = search(
            one.model, params, rows, scratch, self.tell, self.journal, together=lambda parts: twins(one.model, parts)
        )
        return _Found(model, facts)

    def _joined(self) -> Joined:
        models = {name: load_model(self.source / name) for name in self.names}
        for model in models.values():
            prepare(model, self.params)
        found = joined(models)
        if found is None:
            few = ", ".join(f"`{name}`" for name in self.names[:3])
            message = f"a search needs graphs that read what the one before returns, and this model has {few}"
            hint = "write `method: dynamic`, with `modules` for single files"
            raise CheckFailed("OBE151", message, notes=[("hint", hint)])
        return found


def _facts_of(file: str, facts: Any) -> Any:
    """The part of facts that names nodes of a file, and what names no node."""
    if isinstance(facts, list):
        return of_file(file, facts) if facts and isinstance(facts[0], str) else facts
    if not isinstance(facts, dict):
        return facts
    own = of_file(file, facts)
    if own or any(f".onnx{OF_FILE}" in key for key in facts):
        return {name: facts[in_file(file, name)] for name in own}
    parts = {key: _facts_of(file, part) for key, part in facts.items()}
    return {key: part for key, part in parts.items() if part != [] or facts[key] == []}
