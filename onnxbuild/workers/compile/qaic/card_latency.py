"""Latency of a program that keeps its cache, in the terms of Efficient Transformers.

It takes what `Decoder` counted, whatever session ran the program, so that a card is measured by the same lines.
"""

from __future__ import annotations

from typing import Any

from onnxbuild.workers.compile.qaic.retained_decoding import Decoded


def latency_of(decoded: Decoded, device: str) -> dict[str, Any]:
    """Time to the first token, rates and the whole time, of all prompts together, and what they were measured on.

    `time_to_first_token_seconds` is that of reading the prompts, with the time that the tokenizer takes, per group of
    prompts that are read together. `decode_tokens_per_second` counts the tokens of the runs after that, and
    `total_tokens_per_second` the same tokens over the whole time, as Efficient Transformers does.
    """
    prompts = max(1, decoded.prefills)
    return {
        "measured_on": device,
        "prompts": len(decoded.tokens),
        "new_tokens": sum(len(tokens) for tokens in decoded.tokens),
        "time_to_first_token_seconds": decoded.prefill_seconds / prompts,
        "decode_tokens_per_second": _rate(decoded.decoded, decoded.decode_seconds),
        "total_tokens_per_second": _rate(decoded.decoded, decoded.total_seconds),
        "total_seconds": decoded.total_seconds,
    }


def _rate(count: int, seconds: float) -> float | None:
    return count / seconds if seconds > 0 else None
