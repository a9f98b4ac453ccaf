"""`config.pbtxt` of each model of a repository for Triton, from what its graph takes and returns."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.packaging.triton_package import TritonParams
from onnxbuild.workers.package.repositories.repository_graphs import Signature, Tensor

TYPES: Mapping[str, str] = {
    "tensor(bool)": "TYPE_BOOL", "tensor(uint8)": "TYPE_UINT8", "tensor(uint16)": "TYPE_UINT16",
    "tensor(uint32)": "TYPE_UINT32", "tensor(uint64)": "TYPE_UINT64", "tensor(int8)": "TYPE_INT8",
    "tensor(int16)": "TYPE_INT16", "tensor(int32)": "TYPE_INT32", "tensor(int64)": "TYPE_INT64",
    "tensor(float16)": "TYPE_FP16", "tensor(float)": "TYPE_FP32", "tensor(double)": "TYPE_FP64",
    "tensor(string)": "TYPE_STRING", "tensor(bfloat16)": "TYPE_BF16",
}  # fmt: skip
TEXT = "text"
TOKENS = frozenset({"input_ids", "attention_mask", "token_type_ids"})

_LARGEST = 32  # by default
_WARM = 8  # tokens of a batch that warms up

Config = dict[str, Any]


class Word(str):
    """A name in a config that is written without quotes, such as that of a type."""

    __slots__ = ()


def batch_of(params: TritonParams, name: str, signature: Signature) -> int:
    """The largest batch of a model. Errors: CheckFailed OBE45 if the graph cannot have the one that is asked for."""
    fixed = next((one for one in signature.all if not one.dims or one.dims[0] != -1), None)
    if not isinstance(params.max_batch_size, int):
        return 0 if fixed is not None else _LARGEST
    if params.max_batch_size and fixed is not None:
        axes = f"the axes {list(fixed.dims)}" if fixed.dims else "no axis"
        message = (
            f"`{name}` cannot have `max_batch_size: {params.max_batch_size}`: `{fixed.name}` has {axes}, and Triton "
            "adds requests along a variable first one"
        )
        raise CheckFailed("OBE45", message, notes=[("hint", "write `max_batch_size: 0`, or leave it out")])
    return params.max_batch_size


def graph_config(params: TritonParams, name: str, role: str, signature: Signature) -> Config:
    """The config of a graph that ONNX Runtime runs."""
    batch = batch_of(params, name, signature)
    kind = "KIND_GPU" if role in params.on_cuda else "KIND_CPU"
    return {
        **_head(params, name, batch, signature.inputs, signature.outputs),
        "backend": "onnxruntime",
        "instance_group": [{"count": params.instances, "kind": Word(kind)}],
        **_batching(params, batch),
        **_optimization(params),
        **_warmup(params, signature.inputs, batch),
    }


def tokenizer_config(params: TritonParams, name: str, signature: Signature) -> Config:
    """The config of the Python model that makes the inputs of a graph from text."""
    batch = batch_of(params, name, signature)
    return {
        **_head(params, f"{name}-tokenizer", batch, (text_input(batch),), signature.inputs),
        "backend": "python",
        "instance_group": [{"count": params.instances, "kind": Word("KIND_CPU")}],
    }


def ensemble_config(params: TritonParams, name: str, signature: Signature) -> Config:
    """The config of the ensemble that reads text and returns the outputs of a graph."""
    batch = batch_of(params, name, signature)
    tokens = {one.name: one.name for one in signature.inputs}
    steps = [
        _step(f"{name}-tokenizer", {TEXT: TEXT}, tokens),
        _step(name, tokens, {one.name: one.name for one in signature.outputs}),
    ]
    return {
        **_head(params, f"{name}-ensemble", batch, (text_input(batch),), signature.outputs),
        "platform": "ensemble",
        "ensemble_scheduling": {"step": steps},
    }


def text_input(batch: int) -> Tensor:
    """The input for text: one text per row of a batch, or a list of texts where nothing is batched."""
    return Tensor(TEXT, "tensor(string)", (-1, 1) if batch else (-1,))


def config_text(config: Mapping[str, Any]) -> str:
    """A config in the text format of Protocol Buffers."""
    return "".join(f"{line}\n" for line in _lines(config))


def _head(params: TritonParams, name: str, batch: int, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Config:
    return {
        "name": name,
        "max_batch_size": batch,
        "version_policy": {"latest": {"num_versions": params.latest_versions}},
        "input": [_tensor(one, batch) for one in inputs],
        "output": [_tensor(one, batch) for one in outputs],
    }


def _tensor(tensor: Tensor, batch: int) -> Config:
    if tensor.type not in TYPES:
        raise CheckFailed("OBE45", f"`{tensor.name}` is a {tensor.type}, for which Triton has no type")
    dims = list(dims_of(tensor, batch))
    head: Config = {"name": tensor.name, "data_type": Word(TYPES[tensor.type])}
    # A config must have dimensions: a number per request is written as one value, and reshaped to none.
    return {**head, "dims": dims} if dims else {**head, "dims": [1], "reshape": {"shape": []}}


def dims_of(tensor: Tensor, batch: int) -> tuple[int, ...]:
    """The dimensions of a tensor as a config writes them: without the batch, where there is one."""
    return tensor.dims[1:] if batch else tensor.dims


def _batching(params: TritonParams, batch: int) -> Config:
    if not batch:
        return {}
    sizes = {"preferred_batch_size": list(params.preferred_batch_sizes)} if params.preferred_batch_sizes else {}
    return {"dynamic_batching": {**sizes, "max_queue_delay_microseconds": params.max_queue_delay_microseconds}}


def _optimization(params: TritonParams) -> Config:
    if not isinstance(params.accelerator, str):
        return {}
    side = "gpu" if params.accelerator == "tensorrt" else "cpu"
    return {
        "optimization": {"execution_accelerators": {f"{side}_execution_accelerator": [{"name": params.accelerator}]}}
    }


def _warmup(params: TritonParams, inputs: Sequence[Tensor], batch: int) -> Config:
    """A batch of zeros. Lengths are known for tokens and for fixed axes only; other graphs get none."""
    shapes = {one.name: dims_of(one, batch) for one in inputs}
    if not params.warmup or not all(name in TOKENS or min(dims, default=1) > 0 for name, dims in shapes.items()):
        return {}
    values = [
        {
            "key": one.name,
            "value": {
                "data_type": Word(TYPES[one.type]),
                "dims": [_WARM if dim == -1 else dim for dim in shapes[one.name]] or [1],
                "zero_data": True,
            },
        }
        for one in inputs
    ]
    return {"model_warmup": [{"name": "zeros", "batch_size": 1, "inputs": values}]}


def _step(model: str, takes: Mapping[str, str], gives: Mapping[str, str]) -> Config:
    def pairs(names: Mapping[str, str]) -> list[Config]:
        return [{"key": key, "value": value} for key, value in names.items()]

    return {"model_name": model, "model_version": -1, "input_map": pairs(takes), "output_map": pairs(gives)}


def _lines(config: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    for name, value in config.items():
        for one in value if isinstance(value, list) and not _is_plain(value) else [value]:
            if isinstance(one, dict):
                yield f"{indent}{name} {{"
                yield from _lines(one, f"{indent}  ")
                yield f"{indent}}}"
            else:
                yield f"{indent}{name}: {_scalar(one)}"


def _is_plain(values: Sequence[Any]) -> bool:
    return not any(isinstance(one, dict) for one in values)


def _scalar(value: Any) -> str:
    if isinstance(value, list):
        return f"[ {', '.join(map(_scalar, value))} ]" if value else "[ ]"
    return str(value) if isinstance(value, Word) else json.dumps(value)
