"""blame: feeds two graphs the same rows, and compares their tensors node by node.

Facts: `graphs`, one entry per graph of the model, with the ten nodes that cost most; the report has all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from onnx import ModelProto

from onnxbuild.machine import usable_cores
from onnxbuild.protocol import CheckFailed, Facts, Tell
from onnxbuild.steps.checks.blame_nodes import BlameParams
from onnxbuild.steps.dataset_rows import PORT
from onnxbuild.workers.blame.measured_nodes import Pair
from onnxbuild.workers.blame.ranking import MOST, as_facts, ranked
from onnxbuild.workers.calibrate.feeds import Feeds, feeds_by_file
from onnxbuild.workers.engines.onnxruntime_engine import OnnxModel
from onnxbuild.workers.folders.model_files import onnx_names
from onnxbuild.workers.graphs.graph_files import load_model
from onnxbuild.workers.graphs.plain_form import inline_functions
from onnxbuild.workers.inputs.dataset_texts import texts
from onnxbuild.workers.inputs.sample_source import Source, open_source
from onnxbuild.workers.inputs.samples import Sample, shaped, single_texts
from onnxbuild.workers.inputs.sentences import SENTENCES
from onnxbuild.workers.libraries.quiet import quiet
from onnxbuild.workers.libraries.remote_code import with_its_code
from onnxbuild.workers.model_folder.decoders import graphs_to_change

_FEW_TOKENS = 16  # of a row without text


@with_its_code
def run(params: BlameParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Compare each graph that both folders have, and write `blame.json`.

    Errors: CheckFailed OBE120 if there is none.
    """
    before, after = inputs["before"], inputs["after"]
    shared = [name for name in graphs_to_change(before) if name in onnx_names(after)]
    if not shared:
        raise CheckFailed("OBE120", "the graphs before and after the step have different file names")
    feeds = feeds_by_file(before, lambda model: _samples(params, inputs, model), threads=usable_cores())
    graphs: list[dict[str, Any]] = []
    report: dict[str, Any] = {}
    for done, name in enumerate(shared):
        progress(f"comparing {name}", done, len(shared))
        rows = list(feeds(name))
        entry, report[name] = _compared(before / name, after / name, rows) if rows else _not_run(name)
        graphs.append({"file": name, **entry})
    (outputs["report"] / "blame.json").write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))
    return {"graphs": graphs}


def _samples(params: BlameParams, inputs: Mapping[str, Path], model: OnnxModel) -> Iterator[Sample]:
    """Single rows, so that no padding is compared: texts, or else seeded values."""
    source = open_source(inputs["before"], model, "", seed=params.seed, trusts_code=params.trusts_code, light=True)
    if not source.reads_text:
        yield from _seeded(source)
        return
    rows: Iterable[str] = SENTENCES[: params.samples]
    if PORT in inputs:
        rows = texts(inputs[PORT], params.rows, samples=params.samples, seed=params.seed)
    yield from single_texts(source, rows, params.sequence)


def _seeded(source: Source) -> Iterator[Sample]:
    for more in range(2):
        yield shaped(source, 1, max(1, min(_FEW_TOKENS + more, source.positions - 1)))


def _not_run(name: str) -> tuple[dict[str, Any], list[Any]]:
    return {"because": f"`{name}` was not run: a merged decoder is compared through its parts"}, []


def _compared(before: Path, after: Path, rows: Sequence[Feeds]) -> tuple[dict[str, Any], list[Any]]:
    """The facts of one graph, and all its nodes for the report."""
    with TemporaryDirectory(prefix="onnxbuild-blame-") as scratch, quiet():
        pair = Pair(_load(before), _load(after), rows, Path(scratch))
        nodes = ranked(pair.between, pair.errors())
    plain = as_facts(nodes)
    return {"compared": len(pair.between.pairs), "nodes": plain[:MOST]}, plain


def _load(path: Path) -> ModelProto:
    model = load_model(path)
    inline_functions(model)
    return model
