"""The params of each file of a model, and the check of the names in them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec
from onnx import ModelProto

from onnxbuild.diagnostics import did_you_mean
from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.quantize import QuantizeParams, with_module
from onnxbuild.workers.graphs.walk import nodes_of
from onnxbuild.workers.model_folder.decoders import MERGED, PARTS


def params_by_file(
    params: QuantizeParams, names: Iterable[str], changed: Iterable[str]
) -> dict[str, QuantizeParams | None]:
    """The params of each file in `changed`, None for one that stays in fp32; the last pattern that matches decides.

    Errors: CheckFailed OBE50 for a pattern that matches no file.
    """
    stems = {name: Path(name).name.removesuffix(".onnx") for name in names}
    for pattern in params.modules:
        _check_pattern(pattern, stems.values())
    return {name: _params_of(params, name, stems[name]) for name in changed}


def _params_of(params: QuantizeParams, name: str, stem: str) -> QuantizeParams | None:
    chosen: QuantizeParams | None = msgspec.structs.replace(params, modules={})
    for pattern, module in params.modules.items():
        # A merged decoder consists of its parts, so its entry in `modules` applies to them.
        of_parts = fnmatchcase(Path(MERGED).stem, pattern) and Path(name).name in PARTS
        if fnmatchcase(stem, pattern) or of_parts:
            chosen = None if module == "fp32" else with_module(params, module)
    return chosen


def _check_pattern(pattern: str, stems: Collection[str]) -> None:
    if not any(fnmatchcase(stem, pattern) for stem in stems):
        known = ", ".join(f"`{stem}`" for stem in sorted(stems))
        hint = did_you_mean(pattern, stems) or f"the files are {known}"
        raise CheckFailed("OBE50", f"`modules` names `{pattern}`, and no file has this name", notes=[("hint", hint)])


def check_excluded(exclude: Iterable[str], graphs: Mapping[str, ModelProto]) -> None:
    """Every excluded name must be that of a node: a typo would quantize a node that must stay. Errors: OBE50."""
    known = {node.name for graph in graphs.values() for node in nodes_of(graph)}
    for name in exclude:
        if name not in known:
            hint = did_you_mean(name, known) or f"names look like `{min(known, default='')}`"
            raise CheckFailed("OBE50", f"`exclude` names `{name}`, and no node has this name", notes=[("hint", hint)])
