"""load: opens every graph of a variant once, as its user will, where no validation does."""

from __future__ import annotations

from typing import ClassVar

from msgspec import UNSET
from msgspec.structs import replace

from onnxbuild.steps.kind import Context, Kind, Params, RunsWith, TargetDevice


class LoadParams(Params, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Open every graph once, as a user will, in a variant that is not validated: `validate` opens them itself.

    `load: false` is for graphs that only another runtime can open.
    """

    DERIVED: ClassVar[tuple[str, ...]] = ("device", "runtime")

    device: TargetDevice = UNSET
    runtime: RunsWith = UNSET


def _resolve(params: LoadParams, context: Context) -> LoadParams:
    return replace(params, device=context.target_device, runtime=context.runtime)


LOAD = Kind(
    name="load",
    version=1,
    params=LoadParams,
    inputs={"model": "onnx"},
    outputs={"report": "report"},
    worker="onnxbuild.workers.load.worker:run",
    pure=True,
    packages=lambda _params: ("onnxruntime",),
    on_by_default=True,
    resolve=_resolve,
    memory_factor=2.0,
)
