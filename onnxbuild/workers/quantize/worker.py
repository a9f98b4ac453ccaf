"""quantize: int8 with ranges taken at run time or from data, or weights of 4 or 8 bits, in every graph of a model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from msgspec.structs import replace
from onnx import ModelProto

from onnxbuild.protocol import Facts, Tell
from onnxbuild.steps.kind import JOURNAL
from onnxbuild.steps.quantize import CHECKPOINT, QuantizeParams
from onnxbuild.workers.calibrate.feeds import Counted, Feeds, calibrating
from onnxbuild.workers.folders.journal import Journal
from onnxbuild.workers.folders.model_files import copy_model_file, onnx_names
from onnxbuild.workers.folders.model_graphs import copy_data, has_external_data, size_bytes
from onnxbuild.workers.graphs.angles.angle_products import angles
from onnxbuild.workers.graphs.graph_files import load_graph, load_model, save_model
from onnxbuild.workers.graphs.half import named
from onnxbuild.workers.graphs.nodes import declare_own_operators
from onnxbuild.workers.graphs.weights import drop_unused_weights
from onnxbuild.workers.libraries.quiet import quiet
from onnxbuild.workers.libraries.remote_code import with_its_code
from onnxbuild.workers.model_folder.counted_steps import CountedSteps
from onnxbuild.workers.model_folder.decoders import graphs_to_change
from onnxbuild.workers.model_folder.each_graph import change_each_graph
from onnxbuild.workers.quantize.effect import check_effect, count_quantized
from onnxbuild.workers.quantize.file_params import check_excluded, params_by_file
from onnxbuild.workers.quantize.gptq import quantize_gptq
from onnxbuild.workers.quantize.prepared import prepare
from onnxbuild.workers.quantize.quantized import left_in_float, quantized_operators
from onnxbuild.workers.quantize.quantizers import quantize_dynamic, quantize_weights
from onnxbuild.workers.quantize.search.by_row import ByRow, by_row
from onnxbuild.workers.quantize.search.judged import kept
from onnxbuild.workers.quantize.search.search import Rows, search
from onnxbuild.workers.quantize.search.together import Together
from onnxbuild.workers.quantize.smoothing.smooth import Known, not_smoothed, smooth
from onnxbuild.workers.quantize.static_ranges import quantize_with_ranges
from onnxbuild.workers.quantize.stored import put_stored, warnings_of
from onnxbuild.workers.quantize.text_feeds import text_feeds


@with_its_code
def run(params: QuantizeParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Quantize each graph, and complete the folder as `change_each_graph` does.

    Facts beyond those of `change_each_graph`: by file the quantized operators by type, the nodes left in float with the
    reason, bytes before and after, seconds; `quantized`: how many operators of all files.
    """
    source = inputs["model"]
    names = graphs_to_change(source)
    by_file = params_by_file(params, onnx_names(source), names)
    check_excluded(params.exclude, {name: load_graph(source / name) for name in names})
    needs_rows = any(one.needs_rows for one in by_file.values() if one)
    feeds = text_feeds(params, inputs, needs_rows=needs_rows)
    judges = text_feeds(params, inputs, needs_rows=needs_rows, judges=True)
    known: Known = {}
    journal = Journal(outputs.get(JOURNAL))
    together = Together(source, names, params, feeds, judges, progress, journal, [])

    def change(name: str, before: Path, after: Path, steps: CountedSteps) -> dict[str, Any]:
        of_file = by_file[name]
        if of_file is None:
            return _leave(before, after)

        def read() -> Iterable[Feeds]:
            return steps.reading(feeds(name), f"{name} reads row {{row}}", expected=of_file.samples)

        of_all = partial(together.of, name) if params.searches and len(names) > 1 else None
        given = _Given(read, partial(judges, name), known, inputs.get(CHECKPOINT), progress, journal, steps, of_all)
        return _quantize(before, after, of_file, given)

    facts = change_each_graph(
        source,
        outputs["model"],
        change,
        progress,
        doing="reading {name}",
        check=lambda facts: check_effect(facts, params),
    )
    warnings = [*warnings_of(facts), *not_smoothed(facts)]
    return {**facts, "quantized": count_quantized(facts), **({"warnings": warnings} if warnings else {})}


class _Given(NamedTuple):
    """What quantizing one file takes besides the file: text to calibrate with and to judge by, scales, stored codes.

    `journal`: what a search has measured, also before it was killed. `of_all`: the file's part of a search over all
    files, if there are several. `steps`: where what is known of the way is counted.
    """

    feeds: Callable[[], Iterable[Feeds]]
    judges: Callable[[], Iterable[Feeds]]
    known: Known
    checkpoint: Path | None
    tell: Tell
    journal: Journal
    steps: CountedSteps
    of_all: Callable[[ModelProto, Path], tuple[ModelProto, dict[str, Any]]] | None = None


def _leave(source: Path, destination: Path) -> dict[str, Any]:
    """Copy a file that stays as it is."""
    copy_model_file(source, destination)
    copy_data(source, destination)
    return {"bytes_before": size_bytes(source), "bytes": size_bytes(destination), "left": "fp32"}


def _quantize(source: Path, destination: Path, params: QuantizeParams, given: _Given) -> dict[str, Any]:
    started = time.perf_counter()
    # The file is parsed before the model is loaded and after it is freed, so that its weights are in memory once.
    before, external = size_bytes(source), has_external_data(source)
    given.steps.expect(2)
    model, facts = _quantized(source, params, given)
    given.steps.begin(f"writing {destination.name}")
    destination.parent.mkdir(parents=True, exist_ok=True)
    save_model(model, destination, external=external)
    del model
    sizes = {"bytes_before": before, "bytes": size_bytes(destination)}
    return {**facts, **sizes, "seconds": round(time.perf_counter() - started, 3)}


def _quantized(source: Path, params: QuantizeParams, given: _Given) -> tuple[ModelProto, dict[str, Any]]:
    """The quantized model, and what was quantized in it."""
    model = load_model(source)
    given.steps.begin(f"quantizing {source.name}")
    already = quantized_operators(model)
    rewritten = prepare(model, params)
    # The codes of `stored` are exact, so it takes angles as well.
    kept = [] if params.method == "stored" else angles(model)
    params, excluded = replace(params, exclude=(*params.exclude, *kept)), params.exclude
    with TemporaryDirectory(prefix="onnxbuild-quantize-") as scratch, quiet():
        if given.checkpoint is not None:
            model, calibration = put_stored(model, params, given.checkpoint)
        else:
            model, calibration = _by_method(model, params, given, Path(scratch))
        declare_own_operators(model)
    drop_unused_weights(model)
    counts = {"quantized": _added(quantized_operators(model), already)}
    return model, {**counts, "left_in_float": left_in_float(model, excluded, kept), **rewritten, **calibration}


def _by_method(
    model: ModelProto, params: QuantizeParams, given: _Given, scratch: Path
) -> tuple[ModelProto, dict[str, Any]]:
    if params.method in {"dynamic", "auto"}:
        return _in_integers(model, params, given, scratch)
    if params.method == "static":
        return quantize_with_ranges(model, scratch, params, given.feeds)
    if params.algorithm != "gptq":
        return quantize_weights(model, params), {}
    counted = Counted(given.feeds())
    with calibrating():
        model = quantize_gptq(model, params, counted, scratch, given.steps)
    return model, {"calibration": {"samples": counted.count}}


def _in_integers(
    model: ModelProto, params: QuantizeParams, given: _Given, scratch: Path
) -> tuple[ModelProto, dict[str, Any]]:
    """Dynamic int8, or the mix around it that a search finds."""
    ranges = None
    if given.of_all is not None:
        return given.of_all(model, scratch)
    if params.searches:
        named(model)
        ranges = _ranges_by_row(model, params, given, scratch)
    facts = {"smoothing": smooth(model, params, given.feeds, scratch, given.known)} if params.smooths else {}
    if not params.searches:
        return quantize_dynamic(model, params), facts
    with calibrating():
        rows = Rows(kept(given.feeds()), kept(given.judges()))
    model, search_facts = search(model, params, rows, scratch, given.tell, given.journal, ranges)
    return model, {**facts, "search": search_facts}


def _ranges_by_row(model: ModelProto, params: QuantizeParams, given: _Given, scratch: Path) -> ByRow | None:
    """What a search needs to give rows of activations their own ranges, if it also smooths as it likes."""
    if params.smooth != "auto":
        return None
    before = ModelProto()
    before.CopyFrom(model)
    with calibrating():
        return by_row(before, params, given.feeds, scratch)


def _added(now: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    return {kind: count - before.get(kind, 0) for kind, count in now.items() if count > before.get(kind, 0)}
