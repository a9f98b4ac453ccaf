"""sentence-transformers: a folder for its ONNX backend, with a loader that needs neither torch nor transformers."""

from __future__ import annotations

from collections.abc import Iterator

from onnxbuild.steps.kind import Context, Fault, TargetFacts
from onnxbuild.steps.packaging.package_kind import Client, Package, PackageParams, Roles
from onnxbuild.tables.publishing.sentence_tasks import (
    FOR_CROSS_ENCODERS,
    FOR_EMBEDDERS,
    is_cross_encoder_task,
    is_embedder_task,
)

_FULL = "fp32"


class SentenceParams(PackageParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An embedder or a cross-encoder for sentence-transformers, with the loader `onnx_model.py`.

    A role is the ending of a file name in `onnx/`: `targets: {"": fp32, O3: fast}` gives `model.onnx` and
    `model_O3.onnx`. Without roles, the names are those that sentence-transformers itself gives: by the level of the
    optimizer (`O3`), the CPU of int8 (`qint8_avx512_vnni`), or the precision (`fp16`).
    """


def _role(name: str, target: TargetFacts) -> str:
    quantized, optimized = target.params_of("quantize"), target.params_of("optimize")
    if quantized is not None:
        return _of_integers(name, str(quantized.get("preset"))) if target.precision == "int8" else target.precision
    if target.precision != _FULL:
        return target.precision
    return str(optimized["level"]) if optimized is not None else ""


def _of_integers(name: str, preset: str) -> str:
    # AVX2 has no product of two signed bytes that does not overflow, so weights are unsigned there.
    known = {
        "avx2": "quint8_avx2",
        "arm64": "qint8_arm64",
        "avx512": "qint8_avx512",
        "avx512_vnni": "qint8_avx512_vnni",
    }
    return known.get(preset, name)


def _roles(params: SentenceParams, context: Context) -> Roles:
    """As written, or by the library's names. If none is `model.onnx`, which is the default, the first graph is."""
    if isinstance(params.targets, dict):
        return {role: (target,) for role, target in params.targets.items()}
    found: dict[str, list[str]] = {}
    for name in dict.fromkeys(params.targets or context.targets):
        role = _role(name, context.targets[name]) if name in context.targets else name
        found.setdefault(role, []).append(name)
    if "" not in found:
        first = next(iter(found))
        found = {"" if role == first else role: names for role, names in found.items()}
    return {role: tuple(names) for role, names in found.items()}


def _check(params: SentenceParams, context: Context) -> Iterator[Fault]:
    if not (is_embedder_task(params.task) or is_cross_encoder_task(params.task)):
        message = (
            f"sentence-transformers loads embedders and cross-encoders, and the task is `{params.task or 'unknown'}`"
        )
        hint = f"use `package: plain`, or give the model the task `{FOR_EMBEDDERS}` or `{FOR_CROSS_ENCODERS}`"
        yield Fault(code="OB762", message=message, hint=hint)
    if "" not in params.graphs:
        message = "no target of the package `sentence-transformers` is `onnx/model.onnx`, which is loaded by default"
        first = next(iter(params.graphs.values()))
        hint = f'give one target the role `""`: `sentence-transformers: {{targets: {{"": {first}}}}}`'
        yield Fault(code="OB762", field="targets", message=message, hint=hint)
    if context.files is not None and "tokenizer.json" not in context.files and "modules.json" in context.files:
        message = "the checkpoint has no `tokenizer.json`, which the loader without torch reads"
        hint = "save the tokenizer as a fast one: `AutoTokenizer.from_pretrained(…, use_fast=True).save_pretrained(…)`"
        yield Fault(code="OB762", message=message, hint=hint, of_source=True)


SENTENCE_TRANSFORMERS = Package(
    name="sentence-transformers",
    summary="an embedder or a cross-encoder for sentence-transformers, and a loader that needs no torch",
    version=2,
    params=SentenceParams,
    worker="onnxbuild.workers.package.sentence_folder:run",
    roles=_roles,
    check=_check,
    packages=lambda _params: ("onnx",),
    pure=True,
    client=Client(
        worker="onnxbuild.workers.package.sentence_client:run",
        packages=lambda _params: (
            "sentence-transformers", "optimum-onnx", "onnxruntime", "transformers", "tokenizers", "torch", "numpy"
        ),
    ),
)  # fmt: skip
