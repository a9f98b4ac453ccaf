"""Models of several files: which graphs a step changes, and the merged decoder that is rebuilt from its parts.

A merged decoder has both parts in the branches of an If. Fusions and quantizers skip branches or damage them, so a step
changes the parts and merges them again. Loaders that need one file still find it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from onnx import ModelProto

from onnxbuild.workers.folders.model_files import onnx_names
from onnxbuild.workers.folders.model_graphs import size_bytes
from onnxbuild.workers.graphs.graph_files import EXTERNAL_FROM_BYTES, load_model, save_model
from onnxbuild.workers.graphs.merge_decoder import merge_passes
from onnxbuild.workers.graphs.weights import name_weights_by_use, share_equal_weights

MERGED = "decoder_model_merged.onnx"
PARTS = ("decoder_model.onnx", "decoder_with_past_model.onnx")


def graphs_to_change(root: Path) -> tuple[str, ...]:
    """Names of the graphs below `root` that a step changes: all but a merged decoder whose parts exist."""
    names = onnx_names(root)
    return tuple(name for name in names if not _is_rebuilt(name, names))


def merged_name(root: Path) -> str | None:
    """The name of the merged decoder that must be rebuilt, or None."""
    names = onnx_names(root)
    return next((name for name in names if _is_rebuilt(name, names)), None)


def merge(root: Path, name: str) -> dict[str, Any]:
    """Write the merged decoder `name` from the parts beside it; facts: `merged`, and `because` if that failed.

    Loaders use the two parts if there is no merged decoder, so a failed merge costs a file, not the model.
    """
    target = root / name
    parts = [target.with_name(part) for part in PARTS]
    if sum(size_bytes(part) for part in parts) >= EXTERNAL_FROM_BYTES:
        return {"merged": False, "because": "the parts exceed what one protobuf message can hold"}
    decoder, with_past = (load_model(part) for part in parts)
    try:
        save_model(merge_passes(decoder, with_past), target)
        from onnxbuild.workers.engines.smoke_run import open_for_check  # it needs ONNX Runtime

        open_for_check(target)
    except Exception as error:  # noqa: BLE001 - the parts work without it
        target.unlink(missing_ok=True)
        return {"merged": False, "because": f"{type(error).__name__}: {error}"}
    return {"merged": True, "bytes": size_bytes(target)}


def merge_parts(root: Path) -> dict[str, Any]:
    """Write the merged decoder of an export that has its two parts; facts as those of `merge`."""
    if not all((root / part).is_file() for part in PARTS):
        return {}
    return {name: fact for name, fact in merge(root, MERGED).items() if name != "bytes"}


def settle_merged(model: ModelProto, ir_version: int) -> None:
    """Make optimum's merge reproducible: the names and the order of its weights come from iterating over a set."""
    share_equal_weights(model)
    name_weights_by_use(model)
    model.graph.initializer.sort(key=lambda tensor: tensor.name)
    model.ir_version = max(ir_version, model.ir_version)


def _is_rebuilt(name: str, names: tuple[str, ...]) -> bool:
    if Path(name).name != MERGED:
        return False
    return all(Path(name).with_name(part).as_posix() in names for part in PARTS)
