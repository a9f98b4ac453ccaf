"""package ort-model-package: ONNX Runtime's own model package, from which it selects a variant by provider."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar

from msgspec import UNSET, Meta, UnsetType, structs

from onnxbuild.steps.kind import Context, Fault
from onnxbuild.steps.packaging.package_kind import Client, Package, PackageParams, in_package


class OrtPackageParams(PackageParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The variants of a model in one folder. ONNX Runtime selects the one for the execution provider of a session.

    A role is the name of a variant: `targets: {small: int8, gpu: cuda-fp16}`. By default, variants have the names of
    their targets. Among several variants for one provider, ONNX Runtime selects the first.
    """

    DERIVED: ClassVar[tuple[str, ...]] = (*PackageParams.DERIVED, "devices")

    devices: Annotated[
        Mapping[str, str] | UnsetType, Meta(description="the device of each role that is not for the CPU")
    ] = UNSET

    def device_of(self, role: str) -> str:
        """The device of the target in a role."""
        return "cpu" if self.devices is UNSET else self.devices.get(role, "cpu")


def _resolve(params: OrtPackageParams, context: Context) -> OrtPackageParams:
    devices = {role: context.targets[name].device for role, name in params.graphs.items() if name in context.targets}
    others = {role: device for role, device in devices.items() if device != "cpu"}
    return structs.replace(params, devices=others or UNSET)


def _check(params: OrtPackageParams, context: Context) -> Iterator[Fault]:
    """OB762 as a warning for variants that ONNX Runtime never selects: another one for their device is before them."""
    by_device: dict[str, list[str]] = defaultdict(list)
    for role in params.graphs:
        by_device[params.device_of(role)].append(role)
    for device, (first, *others) in by_device.items():
        if others:
            listed = ", ".join(f"`{one}`" for one in others)
            message = f"ONNX Runtime selects `{first}`, the first variant for `{device}`, and never {listed}"
            hint = f"name the preferred target of each device: {in_package('ort-model-package', listed=context.listed)}"
            yield Fault(code="OB762", field="targets", message=message, severity="warning", hint=hint)


ORT_MODEL_PACKAGE = Package(
    name="ort-model-package",
    summary="ONNX Runtime's model package, from which it selects a variant by execution provider",
    version=2,
    params=OrtPackageParams,
    worker="onnxbuild.workers.package.runtimes.ort_package_folder:run",
    check=_check,
    resolve=_resolve,
    pure=True,
    client=Client(
        worker="onnxbuild.workers.package.runtimes.ort_package_client:run",
        packages=lambda _params: ("onnxruntime",),
    ),
)
