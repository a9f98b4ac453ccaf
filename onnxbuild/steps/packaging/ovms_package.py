"""ovms: a model repository for OpenVINO Model Server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta

from onnxbuild.steps.kind import Context, Fault
from onnxbuild.steps.packaging.model_repository import RepositoryParams, check_names, repository_roles
from onnxbuild.steps.packaging.package_kind import Client, Package, in_package


class OvmsParams(RepositoryParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A model repository in `models/`, with the graphs of each target and a `config.json`.

    A role is the name of a model: `targets: {minilm: int8}`.
    """

    base_path: Annotated[
        str,
        Meta(
            pattern="^/",
            extra_json_schema={"patternErrorMessage": "expected a path that begins with `/`"},
            description="where the server finds the folder `models`, as `config.json` writes it",
        ),
    ] = "/models"
    target_device: Annotated[str, Meta(min_length=1, description="the device of OpenVINO, such as `CPU` or `GPU`")] = (
        "CPU"
    )


def _check(params: OvmsParams, context: Context) -> Iterator[Fault]:
    """OB765 for names, and OB762 for a target that only ONNX Runtime on CUDA runs."""
    yield from check_names(params)
    for target in params.graphs.values():
        if target in context.targets and context.targets[target].device == "cuda":
            message = f"the target `{target}` is for CUDA, which OpenVINO does not use"
            yield Fault(
                code="OB762",
                field="targets",
                message=message,
                hint=f"leave it out: {in_package('ovms', listed=context.listed)}",
            )


OVMS = Package(
    name="ovms",
    summary="a model repository for OpenVINO Model Server",
    version=2,
    params=OvmsParams,
    worker="onnxbuild.workers.package.repositories.ovms_repository:run",
    roles=repository_roles,
    check=_check,
    packages=lambda _params: ("onnx",),
    pure=True,
    client=Client(
        worker="onnxbuild.workers.package.repositories.ovms_client:run",
        packages=lambda _params: ("openvino", "onnxruntime", "tokenizers", "transformers", "numpy"),
        reads_data_only=True,
    ),
)
