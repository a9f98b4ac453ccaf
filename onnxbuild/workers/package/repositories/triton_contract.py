"""What Triton checks when it loads a repository, checked without Triton: configs beside graphs, and ensembles."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from onnxbuild.protocol import CheckFailed
from onnxbuild.workers.package.client_checks import unopened
from onnxbuild.workers.package.repositories.repository_graphs import Signature, Tensor
from onnxbuild.workers.package.repositories.triton_config import TYPES, dims_of

CONFIG = "config.pbtxt"
NUMPY_TYPES: Mapping[str, Any] = {
    "TYPE_BOOL": np.bool_, "TYPE_INT32": np.int32, "TYPE_INT64": np.int64, "TYPE_FP16": np.float16,
    "TYPE_FP32": np.float32,
}  # fmt: skip


def read_config_file(folder: Path) -> Any:
    """The config of a model, read by the protobuf of tritonclient. Errors: CheckFailed OBE191, OBE45."""
    from google.protobuf import text_format  # type: ignore[import-untyped]

    path = folder / CONFIG
    try:
        config = text_format.Parse(path.read_text(encoding="utf-8"), _messages().ModelConfig())
    except (text_format.ParseError, OSError) as error:
        raise unopened("Triton's protobuf", f"{folder.name}/{CONFIG}", error) from error
    if config.name != folder.name:
        raise _mismatch(f"the config in the folder `{folder.name}` is of a model `{config.name}`")
    return config


def _messages() -> ModuleType:
    """The generated code of tritonclient alone: its package `tritonclient.grpc` imports grpcio, which is not needed."""
    name = "onnxbuild_triton_messages"
    if name not in sys.modules:
        parent = find_spec("tritonclient")
        assert parent is not None, "BUG: whoever reads a config has looked for tritonclient"
        folder = Path(next(iter(parent.submodule_search_locations or ())))
        spec = spec_from_file_location(name, folder / "grpc" / "model_config_pb2.py")
        assert spec is not None, "BUG: a path has a spec"
        assert spec.loader is not None, "BUG: a path has a loader"
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[name] = module
    return sys.modules[name]


def check_described(config: Any, signature: Signature) -> None:
    """Check that a config states the inputs and outputs of its graph. Errors: CheckFailed OBE45."""
    batch = config.max_batch_size
    for tensor in signature.all:
        if batch and (not tensor.dims or tensor.dims[0] != -1):
            raise _mismatch(f"`{config.name}` batches requests, and `{tensor.name}` has no variable first axis")
    _check_tensors(config, "input", config.input, signature.inputs)
    _check_tensors(config, "output", config.output, signature.outputs)


def _check_tensors(config: Any, side: str, stated: Any, tensors: tuple[Tensor, ...]) -> None:
    written = {one.name: (_type_of(one), _dims_of(one)) for one in stated}
    real = {one.name: (TYPES.get(one.type), dims_of(one, config.max_batch_size)) for one in tensors}
    for name in dict.fromkeys((*written, *real)):
        if written.get(name) != real.get(name):
            raise _mismatch(
                f"the {side} `{name}` of `{config.name}` is {_shown(written.get(name))} in the config, and "
                f"{_shown(real.get(name))} in the graph"
            )


def _shown(value: tuple[str | None, tuple[int, ...]] | None) -> str:
    return "absent" if value is None else f"{value[0]} {list(value[1])}"


def _type_of(stated: Any) -> str:
    return str(stated.DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number[stated.data_type].name)


def _dims_of(stated: Any) -> tuple[int, ...]:
    return tuple(stated.reshape.shape) if stated.HasField("reshape") else tuple(stated.dims)


def check_ensemble(config: Any, configs: Mapping[str, Any]) -> None:
    """Check that each step gets what it takes, in the right type and shape. Errors: CheckFailed OBE45."""
    known = {one.name: _sort(one) for one in config.input}
    for step in config.ensemble_scheduling.step:
        model = configs.get(step.model_name)
        if model is None:
            raise _mismatch(f"the ensemble `{config.name}` runs the model `{step.model_name}`, which is missing")
        takes = {one.name: _sort(one) for one in model.input}
        given = {name: known.get(step.input_map.get(name, "")) for name in takes}
        for name in (one for one in takes if given[one] != takes[one] or one not in step.input_map):
            raise _mismatch(f"the input `{name}` of `{model.name}` does not get what it takes from `{config.name}`")
        if model.max_batch_size < config.max_batch_size:
            raise _mismatch(f"`{config.name}` has larger batches than `{model.name}`")
        known |= {step.output_map[one.name]: _sort(one) for one in model.output if one.name in step.output_map}
    for one in config.output:
        if known.get(one.name) != _sort(one):
            raise _mismatch(f"no step of the ensemble `{config.name}` returns its output `{one.name}`")


def _sort(stated: Any) -> tuple[str, tuple[int, ...]]:
    return _type_of(stated), _dims_of(stated)


def check_values(config: Any, values: Mapping[str, np.ndarray]) -> None:
    """Check that arrays are what a config says of a model's outputs. Errors: CheckFailed OBE45."""
    for one in config.output:
        array = values.get(one.name)
        wanted = NUMPY_TYPES.get(_type_of(one))
        if array is None or array.dtype != wanted or not _fits(array, one, config.max_batch_size):
            found = "nothing" if array is None else f"{array.dtype} {list(array.shape)}"
            raise _mismatch(f"`{config.name}` returns {found} as `{one.name}`, not {_shown(_sort(one))}")


def _fits(array: np.ndarray, stated: Any, batch: int) -> bool:
    shape = array.shape[1:] if batch else array.shape
    dims = _dims_of(stated)
    return len(shape) == len(dims) and all(dim in {-1, size} for dim, size in zip(dims, shape, strict=True))


def ensembles(configs: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Each ensemble of text, with its tokenizer and its graph."""
    for name, config in configs.items():
        if config.platform == "ensemble":
            tokenizer, graph = (step.model_name for step in config.ensemble_scheduling.step)
            yield name, tokenizer, graph


def _mismatch(message: str) -> CheckFailed:
    return CheckFailed("OBE45", message, notes=[("hint", "build the package again: its configs come from the graphs")])
