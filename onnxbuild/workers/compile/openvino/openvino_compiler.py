"""Compiles the graphs of a folder with OpenVINO, as its `compiled.json` says: `python compile.py`.

It stands alone: with openvino, and nncf where something becomes integers, it runs wherever it is copied to. Only
`subject_to` needs onnxbuild, which has the search.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Feeds = Mapping[str, np.ndarray]

# Gives the value of a name: what it finds, or what was found before an action was killed.
Noted = Callable[[str, Callable[[], Any]], Any]

CALIBRATION, JUDGES = ".calibration.npz", ".judges.npz"  # end the names of the files of what a graph is fed
_CI = "CI"
_UNLIMITED = -1


class EmptyBlob(Exception):  # noqa: N818 - what OpenVINO has exported
    """OpenVINO has compiled a graph, and has nothing to show for it."""


class Texts(NamedTuple):
    """What a graph is fed, pass by pass: while ranges are measured, and while a search judges what it has made."""

    feeds: Callable[[], Iterable[Feeds]]
    judges: Callable[[], Iterable[Feeds]]


class Order(NamedTuple):
    """What is done to a graph, in the words of `compiled.json`. `axes`: the dimensions of each input, by name."""

    settings: Mapping[str, Any]
    properties: Mapping[str, str]
    device: str
    axes: Mapping[str, Sequence[int | str]]
    outputs: Sequence[str]


def find_anew(_name: str, find: Callable[[], Any]) -> Any:
    """Find every value: nothing was noted."""
    return find()


def compile_graph(
    graph: Path,
    place: Path,
    order: Order,
    texts: Texts,
    tell: Callable[[str], Any] = print,
    noted: Noted = find_anew,
) -> dict[str, Any]:
    """Write the IR and the blob of a graph beside `place`, and return what was found while it became integers.

    Errors: EmptyBlob, and those of OpenVINO and NNCF.
    """
    import openvino

    core = openvino.Core()
    model = core.read_model(graph)
    facts: dict[str, Any] = {}
    if "quantize" in order.settings or "weights" in order.settings:
        with _quiet_nncf():
            model, facts = _integers(model, order, texts, tell, noted)
    if "bounds" in order.settings:
        _bound(model, order.settings["bounds"], order.axes)
    place.parent.mkdir(parents=True, exist_ok=True)
    openvino.save_model(model, place.with_suffix(".xml"), compress_to_fp16=False)
    compiled = core.compile_model(model, order.device, dict(order.properties))
    blob = compiled.export_model().getvalue()
    if not blob:
        raise EmptyBlob(f"OpenVINO compiled `{graph.name}` and exported an empty blob")
    place.with_suffix(".blob").write_bytes(blob)
    return facts


def _integers(
    model: Any, order: Order, texts: Texts, tell: Callable[[str], Any], noted: Noted
) -> tuple[Any, dict[str, Any]]:
    import nncf

    settings = order.settings
    if settings.get("weights") == "int8":
        return nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_ASYM), {}
    if settings.get("weights") == "int4":
        mode = nncf.CompressWeightsMode.INT4_SYM
        return nncf.compress_weights(model, mode=mode, group_size=settings["group_size"], all_layers=False), {}
    feeds = list(texts.feeds())
    if "subject_to" not in settings:
        return products_in_int8(model, feeds, settings), {}
    from onnxbuild.workers.compile.openvino.int8_search import searched

    return searched(model, order, feeds, list(texts.judges()), tell, noted)


def products_in_int8(
    model: Any, feeds: Sequence[Feeds], settings: Mapping[str, Any], left: Sequence[str] = (), *, packed: bool = True
) -> Any:
    """The model with products in int8, apart from the operations `left` in float; `model` is kept.

    Where it is not `packed`, weights stay numbers in fp32 that are rounded when the model runs.
    """
    import nncf

    more: dict[str, Any] = {} if packed else {"backend_params": {"compress_weights": False}}
    if settings.get("calibration") == "minmax":
        more["activations_range_estimator_params"] = _all_values()
    with redirect_stdout(StringIO()):  # tables and bars for a terminal
        return nncf.quantize(
            model,
            nncf.Dataset([dict(one) for one in feeds]),
            model_type=nncf.ModelType.TRANSFORMER,
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(feeds),
            ignored_scope=nncf.IgnoredScope(names=list(left)),
            advanced_parameters=nncf.AdvancedQuantizationParameters(**more),
        )


def _all_values() -> Any:
    """Ranges from the least to the largest value of all passes; NNCF's own are the means of those of each pass."""
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    return RangeEstimatorParametersSet.MINMAX


@contextmanager
def _quiet_nncf() -> Iterator[None]:
    """NNCF reports its use over the network, except where it takes its surroundings for continuous integration."""
    before = os.environ.get(_CI)
    os.environ[_CI] = "true"
    import nncf  # noqa: F401 - its import sets the level of its log

    logging.getLogger("nncf").setLevel(logging.ERROR)
    try:
        yield
    finally:
        if before is None:
            del os.environ[_CI]
        else:
            os.environ[_CI] = before


def _bound(model: Any, bounds: Mapping[str, str], axes: Mapping[str, Sequence[int | str]]) -> None:
    """Bound the free axes of these names: OpenVINO forgets the names."""
    import openvino

    shapes = {}
    for port in model.inputs:
        name = next(one for one in port.names if one in axes)
        sizes = [_sizes(bounds.get(axis, "")) if isinstance(axis, str) else (axis,) for axis in axes[name]]
        shapes[port] = openvino.PartialShape([openvino.Dimension(*one) for one in sizes])
    model.reshape(shapes)


def _sizes(text: str) -> tuple[int, ...]:
    """The sizes of an axis: `1..512` and `128`, or any size where nothing is said."""
    return tuple(int(one) for one in text.split("..")) if text else (_UNLIMITED,)


def keep_feeds(path: Path, feeds: Iterable[Feeds]) -> None:
    """Write what a graph is fed, pass by pass."""
    named: dict[str, Any] = {
        f"{number} {name}": value for number, fed in enumerate(feeds) for name, value in fed.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **named)


def kept_feeds(path: Path) -> Iterator[Feeds]:
    """What `keep_feeds` has written."""
    passes: dict[int, dict[str, np.ndarray]] = {}
    with np.load(path) as stored:
        for key in stored.files:
            number, _, name = key.partition(" ")
            passes.setdefault(int(number), {})[name] = stored[key]
    yield from passes.values()


def main(folder: Path) -> None:
    """Compile every graph of a folder that onnxbuild has prepared."""
    record = json.loads((folder / "compiled.json").read_text(encoding="utf-8"))
    missing = [name for name in _needed(record["settings"]) if find_spec(name) is None]
    if missing:
        sys.exit(f"{', '.join(missing)} is not installed: pip install {' '.join(missing)}")
    for stage in {one["file"]: one for one in record["stages"].values()}.values():
        blob = folder / stage["file"]
        axes = {name: one["shape"] for name, one in stage["inputs"].items()}
        order = Order(record["settings"], record["properties"], record["device"], axes, list(stage["outputs"]))
        texts = Texts(*(_reader(blob, ending) for ending in (CALIBRATION, JUDGES)))
        facts = compile_graph(blob.with_suffix(".onnx"), blob, order, texts)
        print(f"compiled {stage['file']}", json.dumps(facts) if facts else "")


def _needed(settings: Mapping[str, Any]) -> Iterator[str]:
    yield "openvino"
    if "quantize" in settings or "weights" in settings:
        yield "nncf"
    if "subject_to" in settings:
        yield "onnxbuild"


def _reader(blob: Path, ending: str) -> Callable[[], Iterable[Feeds]]:
    return lambda: kept_feeds(blob.with_name(f"{blob.stem}{ending}"))


if __name__ == "__main__":
    main(Path(__file__).resolve().parent)
