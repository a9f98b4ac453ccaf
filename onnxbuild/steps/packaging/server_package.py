"""server: a folder with a FastAPI app that runs without onnxbuild, and a test of its answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta

from onnxbuild.steps.kind import Context, Fault
from onnxbuild.steps.packaging.package_kind import Client, Package, PackageParams, first_without_role, in_package
from onnxbuild.tables.serving.served_tasks import DECODERS, ENCODERS
from onnxbuild.tables.tasks import proper_name

# What the folder's code imports, in the order of `requirements.txt`.
REQUIRED = ("fastapi", "uvicorn", "onnxruntime", "tokenizers", "numpy", "msgspec", "jinja2")


class ServerParams(PackageParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A FastAPI app for one target, with pinned requirements, a Dockerfile, health checks and a golden test.

    The role of the target is empty: `targets: [int8]`.
    """

    tolerance: Annotated[
        float,
        Meta(
            gt=0, description="how far a number of an answer may be from the recorded one before the golden test fails"
        ),
    ] = 0.001


def _check(params: ServerParams, context: Context) -> Iterator[Fault]:
    """OB762 for a task without an address, for several targets, and for a checkpoint without tokenizer.json."""
    known = (*ENCODERS, *DECODERS)
    if proper_name(params.task) not in known:
        message = f"the package `server` has no address for the task `{params.task or 'unknown'}`"
        yield Fault(code="OB762", message=message, hint=f"it has one for {', '.join(known)}")
    if [*params.graphs] != [""]:
        first = next(iter(params.graphs.values()))
        message = "the package `server` serves one target"
        yield Fault(
            code="OB762",
            field="targets",
            message=message,
            hint=f"write {in_package('server', first, listed=context.listed)}",
        )
    if context.files is not None and "tokenizer.json" not in context.files:
        message = "the checkpoint has no `tokenizer.json`, which the server reads"
        hint = "save the tokenizer as a fast one: `AutoTokenizer.from_pretrained(…, use_fast=True).save_pretrained(…)`"
        yield Fault(code="OB762", message=message, hint=hint, of_source=True)


SERVER = Package(
    name="server",
    summary="a folder with a FastAPI app, pinned requirements, a Dockerfile, health checks and a golden test",
    version=2,
    params=ServerParams,
    worker="onnxbuild.workers.package.servers.server_folder:run",
    roles=first_without_role,
    check=_check,
    packages=lambda _params: ("onnx", *REQUIRED),
    pure=True,
    client=Client(
        worker="onnxbuild.workers.package.servers.server_client:run",
        packages=lambda _params: REQUIRED,
    ),
)
