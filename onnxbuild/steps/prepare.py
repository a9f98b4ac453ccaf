"""prepare: makes of what was fetched the checkpoint that is exported and that variants are compared with."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import UNSET, Meta, UnsetType

from onnxbuild.steps.kind import Kind, OpeningParams

ADAPTER = "adapter"  # the input port of an adapter


class PrepareParams(OpeningParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is done to the weights. A model's `source:` and `adapter:` set these."""

    DERIVED: ClassVar[tuple[str, ...]] = ("flatten", "adapter", "unpack", "trust_remote_code")

    flatten: Annotated[
        Literal[True] | UnsetType,
        Meta(description="move the model of an old sentence-transformer out of its folder `0_Transformer`"),
    ] = UNSET
    adapter: Annotated[
        Literal[True] | UnsetType, Meta(description="merge the adapter of the input `adapter` into the weights")
    ] = UNSET
    unpack: Annotated[
        Literal["gptq", "awq"] | UnsetType,
        Meta(description="format of quantized weights that are written out as the fp32 values that they stand for"),
    ] = UNSET


def _packages(params: PrepareParams) -> tuple[str, ...]:
    """Unpacking is exact, whatever library reads the file; merging multiplies matrices."""
    if params.adapter is True:
        return ("peft", "transformers", "torch")
    return () if params.unpack is UNSET else ("safetensors",)


PREPARE = Kind(
    name="prepare",
    version=1,
    params=PrepareParams,
    inputs={"model": "checkpoint"},
    outputs={"model": "checkpoint"},
    worker="onnxbuild.workers.prepare.worker:run",
    pure=True,
    packages=_packages,
)
