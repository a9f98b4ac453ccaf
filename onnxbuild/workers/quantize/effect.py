"""Whether quantizing had an effect: a step that changed nothing, or made the model larger, is a failure with a cure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.quantize import QuantizeParams
from onnxbuild.workers.quantize.quantized import (
    ANGLE,
    DEEP,
    EMBEDDING,
    EXCLUDED,
    FOLDABLE,
    INNER,
    NOT_FP32,
    OF_OTHER_METHOD,
)

# Why nodes stayed in float → what quantizes them. Most frequent cause first, because a message shows few.
_CURES: Mapping[str, str] = {
    NOT_FP32: "quantize the fp32 graph: `precision:` comes after `quantize:`",
    DEEP: "`quantize: {method: dynamic}` takes weights of three axes, with one scale for each",
    INNER: "`quantize: {method: weight-only, algorithm: rtn}` also reads branches and loops",
    FOLDABLE: "run `optimize: O1` first: it stores what is computed from weights alone",
    EMBEDDING: "`quantize: {method: dynamic}` also quantizes embeddings",
    EXCLUDED: "name fewer nodes in `exclude`",
    ANGLE: "leave `quantize:` out for this model: rounded angles would change what it computes",
}
_NOTHING_LEFT = "a graph that is int8 already has nothing left to quantize: start from the fp32 graph"


def count_quantized(facts: Mapping[str, Any]) -> int:
    """How many quantized operators all files have."""
    return sum(sum(file["quantized"].values()) for file in facts["files"].values() if "quantized" in file)


def check_effect(facts: Mapping[str, Any], params: QuantizeParams) -> None:
    """Fail a step that quantized nothing, or whose result is no smaller. Errors: CheckFailed OBE48, OBE49."""
    count = count_quantized(facts)
    if count == 0:
        raise _without_effect({**facts, "quantized": count}, params)
    # Without the merged decoder, which is missing where merging failed.
    changed = [file for file in facts["files"].values() if "bytes_before" in file]
    before, after = (sum(file[name] for file in changed) for name in ("bytes_before", "bytes"))
    if after >= before:
        raise CheckFailed(
            "OBE49",
            f"the quantized model has {after} bytes, the original {before}",
            notes=[
                ("found", f"{count} quantized operators; {_found(_reasons(facts))}"),
                ("hint", _growth(_reasons(facts), params)),
            ],
            facts={**facts, "quantized": count},
        )


def _without_effect(facts: Mapping[str, Any], params: QuantizeParams) -> CheckFailed:
    idle = [name for name, file in facts["files"].items() if not file.get("quantized", True)]
    reasons = _reasons(facts)
    return CheckFailed(
        "OBE48",
        f"nothing was quantized in {', '.join(idle)}",
        notes=[
            ("found", "; ".join(reasons) or "no MatMul, Gemm, Conv or Gather with a float weight"),
            ("hint", "; ".join(_cures(reasons, params)) or _NOTHING_LEFT),
        ],
        facts=facts,
    )


def _reasons(facts: Mapping[str, Any]) -> list[str]:
    return sorted({reason for file in facts["files"].values() for reason in file.get("left_in_float", {})})


def _found(reasons: Iterable[str]) -> str:
    return "; ".join(reasons) or "no other operator has a float weight"


def _cures(reasons: Iterable[str], params: QuantizeParams) -> list[str]:
    reasons = list(reasons)
    cures = [cure for reason, cure in _CURES.items() if reason in reasons and not _is_settled(reason, params)]
    plain = [reason.partition(" ")[0] for reason in reasons if reason.endswith(OF_OTHER_METHOD)]
    return cures + ([_for_operators(plain, params)] if plain else [])


def _is_settled(reason: str, params: QuantizeParams) -> bool:
    """Whether the params already are what the cure says."""
    return params.method == "dynamic" and reason in {EMBEDDING, DEEP}


def _for_operators(operators: Iterable[str], params: QuantizeParams) -> str:
    names = ", ".join(operators)
    if params.method == "weight-only":
        return f"`quantize: {{method: dynamic}}` also quantizes {names}"
    return f"name them in `operators: [{names}]`"


def _growth(reasons: list[str], params: QuantizeParams) -> str:
    cures = _cures(reasons, params)
    per_tensor = params.method != "weight-only" and params.per_channel
    finer = "write `per_channel: false`" if per_tensor else "use a larger `block_size`"
    small = f"scales and casts take more than small weights save: {finer}, or leave `quantize:` out for this model"
    return "; ".join([*cures, small] if cures else [small])
