"""Export with mobius: a graph that is written from the config, without tracing, and filled from the safetensors.

Only models of one graph are taken. Measured with mobius 0.1.0: the decoders of its encoder-decoders take no mask of the
encoder's padding, so that padded batches would be wrong, and its models of text and images are three graphs.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.export import ExportParams
from onnxbuild.workers.engines.loading import Loaded, some_of
from onnxbuild.workers.export.ir_graphs import write_graph
from onnxbuild.workers.export.mobius_repairs import repair

_AXES: Mapping[str, str] = {
    "batch": "batch_size",
    "seq_len": "sequence_length",
    "sequence_len": "sequence_length",
    "past_seq_len": "past_sequence_length",
    "past_sequence_len": "past_sequence_length",
}
_AXIS = re.compile(rf"\b(?:{'|'.join(_AXES)})\b")
_STATES = "past_states."  # what it calls the past of a model without attention
_NAME = re.compile(r"^  (\S+)", re.MULTILINE)


def export(checkpoint: Path, destination: Path, params: ExportParams) -> list[Loaded]:
    """Write `model.onnx`; returns the weights that the graph lacks and those that it has no place for.

    Errors: CheckFailed OBE97 for a model that mobius does not write as one graph, OBE98 for weights in another format,
    OBE100 for a graph that does not fit the checkpoint.
    """
    _require_safetensors(checkpoint)
    with _unplaced_weights() as unplaced:
        package = _built(checkpoint, trusts_code=params.trusts_code)
    if len(package) != 1:
        raise CheckFailed(
            "OBE97",
            f"mobius writes the model as {len(package)} graphs ({', '.join(package)}), which no loader runs as one",
            notes=[("hint", "choose another exporter, or export the text model by itself")],
        )
    [model] = package.values()
    _refuse_empty(model)
    repair(model)
    _rename(model)
    write_graph(model, destination / "model.onnx")
    return [Loaded(missing=(), unknown=tuple(sorted(unplaced)))]


def _require_safetensors(checkpoint: Path) -> None:
    if not any(checkpoint.glob("model*.safetensors*")):
        raise CheckFailed(
            "OBE98",
            "mobius reads weights from `model.safetensors`, which the checkpoint does not have",
            notes=[("hint", "load the checkpoint and call `save_pretrained`, or choose another exporter")],
        )


def _built(checkpoint: Path, *, trusts_code: bool) -> Any:
    import mobius  # type: ignore[import-not-found]  # in toolchains with transformers 5 alone

    try:
        return mobius.build(str(checkpoint), dtype="f32", trust_remote_code=trusts_code)
    except (OSError, MemoryError):
        raise
    except Exception as error:
        raise _unfit(f"mobius cannot build the model: {type(error).__name__}: {error}") from error


def _refuse_empty(model: Any) -> None:
    """A weight of the graph that the checkpoint lacks has no values. Errors: CheckFailed OBE100."""
    empty = sorted(name for name, value in model.graph.initializers.items() if value.const_value is None)
    if empty:
        raise _unfit(f"the graph that mobius writes has weights that the checkpoint lacks: {some_of(empty)}")


def _unfit(message: str) -> CheckFailed:
    return CheckFailed("OBE100", message, notes=[("hint", "choose another exporter: `onnxbuild compare-exporters`")])


class _Unplaced(logging.Handler):
    """The weights of the checkpoint that the graph does not take, which mobius says in one message of its log."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Note the names in a message that lists weights."""
        if "not applied" in str(record.msg):
            self.names += _NAME.findall(record.getMessage())


@contextmanager
def _unplaced_weights() -> Iterator[list[str]]:
    logger, handler = logging.getLogger("mobius._model_package"), _Unplaced()
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield handler.names
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = True


def _rename(model: Any) -> None:
    """Give axes and states the names that loaders know; keys, values and the other inputs have them already."""
    import onnx_ir

    graph = model.graph
    for value in graph.inputs:
        value.name = re.sub(rf"^{re.escape(_STATES)}", "past_key_values.", str(value.name))
    for value in (*graph.inputs, *(output for node in graph.all_nodes() for output in node.outputs)):
        if value.shape is not None:
            value.shape = onnx_ir.Shape([_axis(one) for one in value.shape])


def _axis(axis: Any) -> int | str | None:
    name = axis if isinstance(axis, int) else axis.value
    return _AXIS.sub(lambda match: _AXES[match[0]], name) if isinstance(name, str) else name
