"""The text half and the vision half of a model as graphs of their own, cut from the graph of the whole.

Nothing is exported or quantized twice, so the halves have the weights of the whole, which the validation has compared.
The whole returns vectors of length 1. The classes of the halves promise them as they are before that.
"""

from __future__ import annotations

from pathlib import Path

from onnxbuild.protocol import CheckFailed
from onnxbuild.tables.publishing.javascript_dtypes import file_name
from onnxbuild.tables.publishing.javascript_halves import Half, halves_of
from onnxbuild.workers.folders.configs import read_config
from onnxbuild.workers.graphs.graph_files import load_model
from onnxbuild.workers.package.javascript.cut_graph import keep_output, undo_length
from onnxbuild.workers.package.javascript.dtype_files import write_model

_WHOLE = "model.onnx"
_INPUTS = {"text": frozenset({"input_ids", "attention_mask", "position_ids"}), "image": frozenset({"pixel_values"})}


def write_halves(graphs: Path, destination: Path, dtype: str, chunk_bytes: int) -> dict[str, int]:
    """Write both halves of one target below `destination`; returns for each file how many chunks of weights it has.

    Errors: CheckFailed OBE196 if the graph cannot be cut.
    """
    written = {}
    for half in halves_of(read_config(graphs).get("model_type")):
        target = destination / file_name(half.file, dtype)
        written[target.name] = _write_half(half, graphs / _WHOLE, target, chunk_bytes)
    if not written:
        raise _uncut("Transformers.js loads this model as a whole only")
    return written


def _write_half(half: Half, whole: Path, target: Path, chunk_bytes: int) -> int:
    if not whole.is_file():
        raise _uncut(f"the target has no `{_WHOLE}`")
    model = load_model(whole)
    outputs = [one.name for one in model.graph.output]
    if half.of not in outputs:
        raise _uncut(f"the graph returns {', '.join(outputs)}, and no `{half.of}`")
    if not undo_length(model, half.of):
        raise _uncut(f"the graph does not divide `{half.of}` by its length, so that the vector before is not known")
    keep_output(model, half.of, half.gives)
    foreign = sorted({one.name for one in model.graph.input} - _INPUTS[half.reads])
    if foreign:
        raise _uncut(f"`{half.of}` is also computed from {', '.join(foreign)}")
    return write_model(model, target, chunk_bytes)


def _uncut(why: str) -> CheckFailed:
    hint = "leave `halves` out of the package"
    return CheckFailed("OBE196", f"the halves of the model cannot be cut: {why}", notes=[("hint", hint)])
