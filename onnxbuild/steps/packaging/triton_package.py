"""triton: a model repository for NVIDIA Triton, with an ensemble that reads text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from onnxbuild.needs.step_needs import PROGRAM
from onnxbuild.steps.kind import Context, Fault
from onnxbuild.steps.packaging.model_repository import RepositoryParams, check_names, repository_roles
from onnxbuild.steps.packaging.package_kind import Client, Package

TOKENIZER, ENSEMBLE = "-tokenizer", "-ensemble"  # what is added to the name of a model
_ACCELERATORS: Mapping[str, str] = {"tensorrt": "cuda", "openvino": "cpu"}


class TritonParams(RepositoryParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A model repository in `models/`: a graph and its `config.pbtxt` per target, and an ensemble that reads text.

    A role is the name of a model: `targets: {minilm: int8}`.
    """

    DERIVED: ClassVar[tuple[str, ...]] = (*RepositoryParams.DERIVED, "on_cuda")

    max_batch_size: Annotated[
        Annotated[int, Meta(ge=0)] | UnsetType,
        Meta(
            description="the largest batch; 0 means that requests are not batched. By default 32, or 0 if an input or"
            " output has no variable first axis",
        ),
    ] = UNSET
    preferred_batch_sizes: Annotated[
        tuple[Annotated[int, Meta(ge=1)], ...],
        Meta(description="batch sizes that dynamic batching runs at once", examples=[[8, 16]]),
    ] = ()
    max_queue_delay_microseconds: Annotated[
        int, Meta(ge=0, description="how long a request may wait for others, in microseconds")
    ] = 100
    latest_versions: Annotated[
        int, Meta(ge=1, description="how many of the newest versions in the repository are loaded")
    ] = 1
    instances: Annotated[int, Meta(ge=1, description="how many copies of a model run at once on each device")] = 1
    accelerator: Annotated[
        Literal["tensorrt", "openvino"] | UnsetType,
        Meta(description="the execution provider to which ONNX Runtime gives what it can: TensorRT needs a GPU"),
    ] = UNSET
    warmup: Annotated[bool, Meta(description="run one batch of zeros before a model is ready")] = True
    ensemble: Annotated[
        bool, Meta(description="add a tokenizer and an ensemble to each model with one graph that reads tokens")
    ] = True
    on_cuda: Annotated[tuple[str, ...], Meta(description="the models whose targets are for CUDA")] = ()


def _resolve(params: TritonParams, context: Context) -> TritonParams:
    cuda = tuple(role for role, target in params.graphs.items() if _device(target, context) == "cuda")
    return msgspec.structs.replace(params, on_cuda=cuda)


def _device(target: str, context: Context) -> str:
    return context.targets[target].device if target in context.targets else "cpu"


def _check(params: TritonParams, context: Context) -> Iterator[Fault]:
    """OB765 and OB761 for names, OB766 for batch sizes, OB762 for an accelerator of another device."""
    yield from check_names(params)
    yield from _check_added_names(params)
    yield from _check_batches(params)
    needs = _ACCELERATORS.get(params.accelerator or "")
    for target in params.graphs.values():
        device = _device(target, context)
        if needs is not None and device != needs:
            message = f"the target `{target}` is for {device}, and `accelerator: {params.accelerator}` is for {needs}"
            yield Fault(code="OB762", field="accelerator", message=message, hint="leave `accelerator` out")


def _check_added_names(params: TritonParams) -> Iterator[Fault]:
    """OB761 for a model with the name of the tokenizer or the ensemble that belongs to another one."""
    roles = {role.lower(): role for role in params.graphs}
    for role in params.graphs if params.ensemble else ():
        for added in (f"{role}{TOKENIZER}", f"{role}{ENSEMBLE}"):
            if added.lower() in roles:
                message = f"`{roles[added.lower()]}` is a model, and the name of what reads text for `{role}`"
                hint = "give the model another name, or write `ensemble: false`"
                yield Fault(code="OB761", field="targets", message=message, hint=hint)


def _check_batches(params: TritonParams) -> Iterator[Fault]:
    largest = params.max_batch_size
    if largest is UNSET or not params.preferred_batch_sizes:
        return
    if largest == 0:
        message = "`preferred_batch_sizes` has no effect with `max_batch_size: 0`, which switches batches off"
        yield Fault(code="OB766", field="preferred_batch_sizes", message=message, hint="leave one of them out")
    elif max(params.preferred_batch_sizes) > largest:
        message = f"the batch size {max(params.preferred_batch_sizes)} is preferred, and the largest is {largest}"
        hint = f"write `max_batch_size: {max(params.preferred_batch_sizes)}`, or prefer smaller ones"
        yield Fault(code="OB766", field="preferred_batch_sizes", message=message, hint=hint)


def _packages(_params: Any) -> tuple[str, ...]:
    return ("tritonclient", "protobuf", "onnxruntime", "tokenizers", "numpy", f"{PROGRAM}tritonserver")


TRITON = Package(
    name="triton",
    summary="a model repository for NVIDIA Triton, with an ensemble that reads text",
    version=2,
    params=TritonParams,
    worker="onnxbuild.workers.package.repositories.triton_repository:run",
    roles=repository_roles,
    check=_check,
    resolve=_resolve,
    packages=lambda _params: ("onnx", "onnxruntime"),
    pure=True,
    client=Client(worker="onnxbuild.workers.package.repositories.triton_client:run", packages=_packages),
)
