"""package genai: a text decoder with the `genai_config.json` that onnxruntime-genai reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

from msgspec import UNSET, Meta, UnsetType, structs

from onnxbuild.steps.kind import Context, Fault
from onnxbuild.steps.packaging.package_kind import Client, Package, PackageParams, Roles, in_package
from onnxbuild.tables.publishing.model_packages import why_not_genai
from onnxbuild.tables.tasks import has_cache

_ONLY = ""  # the role of the only graph


class GenaiParams(PackageParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The graph of one target, with configs, tokenizer and `genai_config.json`."""

    DERIVED: ClassVar[tuple[str, ...]] = (*PackageParams.DERIVED, "max_length")

    max_length: Annotated[int | UnsetType, Meta(description="the limit of the export, in tokens")] = UNSET


def _roles(params: GenaiParams, context: Context) -> Roles:
    """All named targets claim the only role: OB761 says to choose one."""
    if isinstance(params.targets, dict):
        return {role: (target,) for role, target in params.targets.items()}
    return {_ONLY: tuple(dict.fromkeys(params.targets or context.targets))}


def _resolve(params: GenaiParams, context: Context) -> GenaiParams:
    return structs.replace(params, max_length=UNSET if context.max_length is None else context.max_length)


def _check(params: GenaiParams, context: Context) -> Iterator[Fault]:
    """OB762 for what onnxruntime-genai does not run."""
    if [*params.graphs] != [_ONLY]:
        message = "`genai_config.json` describes one graph, so the package `genai` has one target and no other roles"
        first = next(iter(params.graphs.values()))
        yield Fault(
            code="OB762",
            field="targets",
            message=message,
            hint=f"write {in_package('genai', first, listed=context.listed)}",
        )
    reason = _unfit(params, context)
    if reason is not None:
        message = f"onnxruntime-genai does not run the model: {reason}"
        yield Fault(code="OB762", message=message, hint="use `package: plain`")


def _unfit(params: GenaiParams, context: Context) -> str | None:
    if context.family == "encoder-decoder":
        return "of encoder-decoders it only runs Whisper, with an encoder that computes the decoder's cross-attention"
    if context.family != "decoder":
        return "it generates text, and the model is not a decoder"
    if not has_cache(params.task):
        return (
            f"it feeds keys and values back, and `{params.task}` exports none; the task that ends in `-with-past` does"
        )
    return why_not_genai(str((context.config or {}).get("model_type", "")))


def _client_packages(_params: Any) -> tuple[str, ...]:
    return ("onnxruntime-genai", "onnxruntime", "transformers", "tokenizers", "torch", "numpy")


GENAI = Package(
    name="genai",
    summary="a folder that onnxruntime-genai runs",
    version=2,
    params=GenaiParams,
    worker="onnxbuild.workers.package.runtimes.genai_folder:run",
    roles=_roles,
    check=_check,
    resolve=_resolve,
    packages=lambda _params: ("onnx",),
    pure=True,
    client=Client(worker="onnxbuild.workers.package.runtimes.genai_client:run", packages=_client_packages),
)
