"""What a config.json says about the inner sizes of products: how many weights each of their outputs sums over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from onnxbuild.tables.positions import text_part

# Entries that are the width of what a product reads: hidden states, and the states inside a feed-forward part.
_WIDTHS = (
    "hidden_size", "d_model", "n_embd", "dim", "intermediate_size", "d_ff", "ffn_dim", "encoder_ffn_dim",
    "decoder_ffn_dim", "n_inner", "hidden_dim",
)  # fmt: skip
# What the product after the attention reads: the number of heads times the size of one.
_HEADS = (("num_attention_heads", "head_dim"), ("num_heads", "d_kv"))


def inner_sizes(config: Mapping[str, Any] | None) -> dict[str, int]:
    """The inner sizes that a config names, by their entry; none without a config."""
    return {} if config is None else dict(_sizes(text_part(config)))


def _sizes(text: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    yield from ((name, text[name]) for name in _WIDTHS if _is_size(text.get(name)))
    for count, size in _HEADS:
        if _is_size(text.get(count)) and _is_size(text.get(size)):
            yield f"{count} × {size}", text[count] * text[size]


def _is_size(value: Any) -> bool:
    return type(value) is int and value > 0
