"""Whether the graph has the reference's embedding of every token, not only of those that occur in the samples.

The samples have some thousand words. A vocabulary has tens of thousands, and a row of it that is wrong shows for its
own word only. So the table of the graph is read for every id, which takes less than a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from onnx import ModelProto

from onnxbuild.tables.thresholds import judged_as
from onnxbuild.workers.engines.onnxruntime_engine import OnnxModel, onnx_files, session_options
from onnxbuild.workers.validate.sanity.word_tables import COUNT, IDS, ROWS, rows_in_float, word_table

CODE = "OBE146"

# The distance of a row, over its length or that of a usual row if this is more. 4-bit blocks cost 0.2, another row 1.4.
_MOST = {"fp32": 0.01, "fp16": 0.02, "bf16": 0.05}
_MOST_QUANTIZED = 0.6
_AT_ONCE = 8192
_FIRST, _DECODER = ("forward", "prefill", "encoder"), ("decoder",)


class _Table(NamedTuple):
    """A table of embeddings: the stages whose graph has it, the input of its ids, and what these stand for."""

    stages: tuple[str, ...]
    name: str
    things: str


_TABLES = (
    _Table(_FIRST, "input_ids", "tokens"),
    _Table(_DECODER, "input_ids", "tokens"),
    _Table(_FIRST, "token_type_ids", "token types"),  # samples of one text have a single type
)


def other_embeddings(variant: Any, reference: Any, precision: str) -> Iterator[tuple[str, str]]:
    """The code and a message for each table of a graph that has another row than the reference's."""
    for table in _TABLES:
        actual = _of_graph(variant, table)
        wanted = _of_reference(reference, table) if actual is not None else None
        if actual is None or wanted is None or actual.shape[1:] != wanted.shape[1:]:
            continue
        fault = _difference(wanted, actual, _MOST.get(judged_as(precision), _MOST_QUANTIZED), table.things)
        if fault is not None:
            yield CODE, fault


def _difference(wanted: np.ndarray, actual: np.ndarray, most: float, things: str) -> str | None:
    if len(actual) < len(wanted):
        return f"the graph has embeddings of {len(actual)} {things}, the reference of {len(wanted)}"
    distances = _distances(wanted, actual[: len(wanted)])
    wrong = np.flatnonzero(~(distances <= most))
    if not len(wrong):
        return None
    worst = int(wrong[np.nan_to_num(distances[wrong], nan=np.inf).argmax()])
    what = f"the embedding of {len(wrong)} of {len(wanted)} {things} is another than the reference's"
    return f"{what}: that of id {worst} differs by {distances[worst]:.2g} of its length (at most {most:g} is accepted)"


def _distances(wanted: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """The distance of each row, [rows]. One factor for all rows is left out: a graph may multiply by it earlier."""
    sums = [_by_row(*pair) for pair in ((wanted, wanted), (actual, actual), (wanted, actual))]
    factor = float(sums[2].sum() / sums[1].sum()) if sums[1].sum() > 0 else 1.0
    apart = np.sqrt(np.maximum(sums[0] - 2 * factor * sums[2] + factor**2 * sums[1], 0))
    return apart / np.maximum(np.sqrt(sums[0]), np.sqrt(sums[0].mean()) or 1.0)  # type: ignore[no-any-return]


def _by_row(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    parts = range(0, len(one), _AT_ONCE)
    products = [
        np.einsum("ij,ij->i", one[at : at + _AT_ONCE].astype(np.float64), other[at : at + _AT_ONCE].astype(np.float64))
        for at in parts
    ]
    return np.concatenate(products)  # type: ignore[no-any-return]


def _of_graph(model: Any, table: _Table) -> np.ndarray | None:
    """The table of the graph that has one of the stages."""
    if not isinstance(model, OnnxModel):  # a backend has compiled the graph, and its table cannot be read
        return None
    path = next((one for one in onnx_files(model.folder) if set(table.stages) & set(model.stages_in(one.name))), None)
    if path is None or table.name not in _inputs(model, path):
        return None
    graph = word_table(path, table.name)
    if graph is None:
        return None
    rows = np.concatenate(list(_rows(_opened(graph, model.threads))))
    # A product in integers reads the codes themselves, and what they stand for is known only behind it.
    return rows if np.issubdtype(rows.dtype, np.floating) else None


def _opened(graph: ModelProto, threads: int) -> onnxruntime.InferenceSession:
    """A session whose rows NumPy has a type for, as it has none for bf16."""
    options = session_options(threads)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    if next(one.type for one in session.get_outputs() if one.name == ROWS) != "tensor(bfloat16)":
        return session
    in_float = rows_in_float(graph).SerializeToString()
    return onnxruntime.InferenceSession(in_float, options, providers=["CPUExecutionProvider"])


def _inputs(model: OnnxModel, path: Path) -> frozenset[str]:
    return frozenset(name for stage in model.stages_in(path.name) for name in model.inputs(stage))


def _rows(session: Any) -> Iterator[np.ndarray]:
    """All rows of a table, some at a time."""
    count = int(session.run([COUNT], {IDS: np.zeros(1, np.int64)})[0][0])
    for at in range(0, count, _AT_ONCE):
        yield session.run([ROWS], {IDS: np.arange(at, min(at + _AT_ONCE, count))})[0]


def _of_reference(reference: Any, table: _Table) -> np.ndarray | None:
    if isinstance(reference, OnnxModel):
        return _of_graph(reference, table)
    try:
        model = reference.model
        network = model[0].auto_model if hasattr(model, "encode") else model
        weight = _module(network, table).weight
    except (AttributeError, NotImplementedError, TypeError, IndexError, KeyError, StopIteration):
        return None
    return weight.detach().cpu().float().numpy() if weight.ndim == 2 else None  # noqa: PLR2004 - rows and width


def _module(network: Any, table: _Table) -> Any:
    if table.name == "token_type_ids":
        return next(part for name, part in network.named_modules() if name.endswith("token_type_embeddings"))
    return (network.get_decoder() if table.stages == _DECODER else network).get_input_embeddings()
