"""generate: greedy text from prompts, with tokens per second and time to the first token, compared with PyTorch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar

import msgspec
from msgspec import UNSET, Meta

from onnxbuild.steps.kind import Context, Fault, Kind, OpeningParams, RunsWith, trusted
from onnxbuild.tables.tasks import TASKS, Modality


class GenerateParams(OpeningParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to continue, how far, and on how many cores. One warm-up run comes first."""

    DERIVED: ClassVar[tuple[str, ...]] = ("task", "runtime", "trust_remote_code")

    task: Annotated[str, Meta(description="the model's task")] = ""
    runtime: RunsWith = UNSET
    prompts: Annotated[tuple[str, ...], Meta(description="texts to continue", examples=[["Once upon a time"]])]
    max_new_tokens: Annotated[int, Meta(description="maximum number of tokens to add to each prompt, 1 or more")] = 64
    threads: Annotated[int, Meta(description="number of cores to run on")] = 1
    rounds: Annotated[int, Meta(description="number of timed runs of each engine, in turn")] = 3


def _resolve(params: GenerateParams, context: Context) -> GenerateParams:
    return msgspec.structs.replace(
        params, task=context.task or "", runtime=context.runtime, trust_remote_code=trusted(context)
    )


_NOT_FROM_TEXT: Mapping[Modality, str] = {"audio": "transcribes audio", "image": "describes images"}


def _check(params: GenerateParams, context: Context) -> Iterable[Fault]:
    task = TASKS.get(context.task or "")
    if context.task is not None and context.family == "encoder":
        yield Fault(code="OB614", message=f"task `{context.task}` generates no text", hint="remove `generate:`")
    elif task is not None and task.modality in _NOT_FROM_TEXT:
        yield Fault(
            code="OB614",
            message=f"task `{context.task}` {_NOT_FROM_TEXT[task.modality]}, and `prompts` are text",
            hint="remove `generate:`; `benchmark:` times the encoder and the decoder's step",
        )
    if not params.prompts:
        yield Fault(code="OB612", field="prompts", message="`prompts` is empty")
    if params.max_new_tokens < 1:
        yield Fault(code="OB612", field="max_new_tokens", message="`max_new_tokens` expects a number from 1")
    yield from _check_positions(params, context)


def _check_positions(params: GenerateParams, context: Context) -> Iterable[Fault]:
    """A decoder keeps the prompt and all new tokens in its positions; the prompt has at least one token.

    More than that is not known without the tokenizer, except that a word is hardly ever less than a token.
    """
    words = max((len(prompt.split()) for prompt in params.prompts), default=0)
    yield from _check_prompt(words, context)
    positions = context.positions
    if context.family != "decoder" or positions is None:
        return
    raised = f", or raise `{context.limiting_param}` in the target" if context.limiting_param else ""
    if params.max_new_tokens >= positions:
        yield Fault(
            code="OB620",
            field="max_new_tokens",
            message=f"{params.max_new_tokens} new tokens and a prompt do not fit {context.limit}",
            hint=f"write `max_new_tokens: {positions // 2}`, which leaves room for a prompt{raised}",
        )
    elif context.limiting_param is not None and words + params.max_new_tokens > positions + 1:
        yield Fault(
            code="OB620",
            field="prompts",
            severity="warning",
            message=f"a prompt of {words} words and {params.max_new_tokens} new tokens may not fit {context.limit}",
            hint=f"shorten the prompt, lower `max_new_tokens`{raised}",
        )


def _check_prompt(words: int, context: Context) -> Iterable[Fault]:
    """OB620 as a warning for a prompt that one call of a compiled variant may not take."""
    name, most = min(context.call_limits, key=lambda one: one[1], default=("", words))
    if words > most:
        yield Fault(
            code="OB620",
            field="prompts",
            severity="warning",
            message=f"a prompt of {words} words may not fit the target's `{name}: {most}`",
            hint=f"shorten the prompt, or raise `{name}` in the target",
        )


GENERATE = Kind(
    name="generate",
    version=1,
    params=GenerateParams,
    inputs={"model": "onnx", "reference": "checkpoint | onnx"},
    outputs={"samples": "samples"},
    worker="onnxbuild.workers.generate.worker:run",
    pure=True,
    packages=lambda _params: ("onnxruntime", "optimum", "optimum-onnx", "transformers", "torch"),
    pool="alone",
    measures=True,
    resolve=_resolve,
    check=_check,
    memory_factor=4.0,
)
