"""load: opens every graph of a variant once, as its user will, where no validation does.

Planning adds it to a variant without `validate`: a manifest cannot name it, and cannot switch it off.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import replace

from onnxbuild.steps.kind import Context, Kind, Params


class LoadParams(Params, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the graphs are opened."""

    DERIVED: ClassVar[tuple[str, ...]] = ("device",)

    device: Annotated[Literal["cuda"] | UnsetType, Meta(description="the target's device, where it is not the CPU")] = (
        UNSET
    )


def _resolve(params: LoadParams, context: Context) -> LoadParams:
    return replace(params, device="cuda" if context.device == "cuda" else UNSET)


LOAD = Kind(
    name="load",
    version=1,
    params=LoadParams,
    inputs={"model": "onnx"},
    outputs={"report": "report"},
    worker="onnxbuild.workers.load.worker:run",
    pure=True,
    implied=True,
    packages=lambda _params: ("onnxruntime",),
    resolve=_resolve,
)
