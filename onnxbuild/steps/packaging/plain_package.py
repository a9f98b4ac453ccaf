"""plain: a folder that optimum's `ORTModel` loads, with the checksums of its files."""

from __future__ import annotations

from collections.abc import Iterator

from onnxbuild.steps.kind import Context, Fault
from onnxbuild.steps.packaging.package_kind import Client, Package, PackageParams, first_without_role, in_package


class PlainParams(PackageParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Configs, tokenizer and processor, and the graphs under the names that optimum expects.

    A role is the ending of a file name: `targets: {"": fp32, quantized: int8}` gives `model.onnx` and
    `model_quantized.onnx`. In a list, the first target has no ending, and the others have their names.
    """


def _check(params: PlainParams, context: Context) -> Iterator[Fault]:
    """OB762 where optimum would not find the graphs: it opens a merged decoder under its usual name only."""
    if context.family == "encoder-decoder" and [*params.graphs] != [""]:
        message = "optimum opens the graphs of an encoder-decoder under their usual names only, so one target fits in"
        yield Fault(
            code="OB762",
            field="targets",
            message=message,
            hint=f"write {in_package('plain', _first(params), listed=context.listed)}",
        )


def _first(params: PlainParams) -> str:
    return next(iter(params.graphs.values()))


PLAIN = Package(
    name="plain",
    summary="a folder that optimum's `ORTModel` loads, with checksums",
    version=2,
    params=PlainParams,
    worker="onnxbuild.workers.package.worker:run",
    roles=first_without_role,
    check=_check,
    packages=lambda _params: ("onnx",),
    pure=True,
    client=Client(
        worker="onnxbuild.workers.package.plain_client:run",
        packages=lambda _params: ("optimum-onnx", "optimum", "onnxruntime", "transformers", "torch"),
        reads_data_only=True,
    ),
)
