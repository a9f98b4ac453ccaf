"""generate: greedy text from prompts, with tokens per second and time to the first token, beside PyTorch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import msgspec

from onnxbuild.steps.kind import Context, Fault, Kind, OpeningParams, trusted


class GenerateParams(OpeningParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to continue: `prompts`, each by `max_new_tokens` tokens, on `threads` cores, after one warm-up."""

    DERIVED: ClassVar[tuple[str, ...]] = ("task", "trust_remote_code")

    task: str = ""
    prompts: tuple[str, ...]
    max_new_tokens: int = 64
    threads: int = 1
    rounds: int = 3


def _resolve(params: GenerateParams, context: Context) -> GenerateParams:
    return msgspec.structs.replace(params, task=context.task or "", trust_remote_code=trusted(context))


def _check(params: GenerateParams, context: Context) -> Iterable[Fault]:
    if context.task is not None and context.family == "encoder":
        yield Fault(code="OB614", message=f"task `{context.task}` generates no text", hint="remove `generate:`")
    elif (context.task or "").startswith("automatic-speech-recognition"):
        yield Fault(
            code="OB614",
            message=f"task `{context.task}` writes down sound, and `prompts` are text",
            hint="remove `generate:`; `benchmark:` times its encoder and its decoder's step",
        )
    elif (context.task or "").startswith("image-to-text"):
        yield Fault(
            code="OB614",
            message=f"task `{context.task}` describes pictures, and `prompts` are text",
            hint="remove `generate:`; `benchmark:` times its encoder and its decoder's step",
        )
    if not params.prompts:
        yield Fault(code="OB612", field="prompts", message="`prompts` is empty")
    if params.max_new_tokens < 1:
        yield Fault(code="OB612", field="max_new_tokens", message="`max_new_tokens` expects a number from 1")


GENERATE = Kind(
    name="generate",
    version=1,
    params=GenerateParams,
    inputs={"model": "onnx", "reference": "checkpoint | onnx"},
    outputs={"samples": "samples"},
    worker="onnxbuild.workers.generate.worker:run",
    packages=lambda _params: ("onnxruntime", "optimum", "optimum-onnx", "transformers", "torch"),
    pool="alone",
    measures=True,
    resolve=_resolve,
    check=_check,
    memory_factor=4.0,
)
