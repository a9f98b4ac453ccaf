"""A small config for any model type: one rule shrinks every size in it, and a short list says where it does not do.

Sizes are odd and unequal (three heads, 48 wide, one key-value head, head dimension 24 where it is free), so that a
graph that takes one size for another fails. Runs in any environment that has transformers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

VOCABULARY = 389
POSITIONS = 230
WIDTH = 48

# Pattern of a field's whole name → its size. The first match counts.
_LENGTHS = (
    r".*(max_position_embeddings|n_positions|max_(source|target)_positions|max_sequence_length|n_ctx|seq_length)"
    r"|max_seq_len|model_max_length|max_encoder_position_embeddings|max_decoder_position_embeddings"
)
_LAYERS = (
    r"(num_|n_)?(hidden_|encoder_|vision_|text_|attention_)*(layers?|blocks)|depth|n_layers?|.*_num_layers"
    r"|num_.*_layers|.*_layers|num_hidden_groups"
)
_WIDTHS = r"(.*_)?(hidden_size|d_model|n_embd|emb_dim|dim|embed_dim|embed_size|width|d_embed)(_per_layer_input)?"
_FEED_FORWARD = r".*(intermediate_size|ffn_dim|d_ff|n_inner|ffn_size|hidden_dim|mlp_dim|inner_dim)(_.*)?"
_NARROW = r"embedding_size|projection_dim|projection_size|.*proj_dim|input_embedding_size|word_embed_proj_dim"
_WINDOWS = r"sliding_window|local_attention|attention_window|window|block_size|chunk_size|.*_chunk_size"
_SIZES: tuple[tuple[str, int], ...] = (
    (r"(text_|source_|target_|src_|tgt_)?vocab(ulary)?_size(_per_layer_input)?", VOCABULARY),
    (_LENGTHS, POSITIONS),
    (r"num_(key_value|kv|linear_key|query)_(heads|groups)|n_kv_heads?|num_kv_heads|.*_key_value_heads", 1),
    # `num_decoder_layers` of the T5 family stays as large as `num_layers`, by which `generate` sizes its cache.
    (r"decoder_(n_)?layers|n_decoder_layers", 3),
    (_LAYERS, 2),
    (r".*(num_heads|n_heads?|attention_heads)|num_attention_heads.*", 3),
    (r"(global_)?head_dim|d_kv|attention_head_size|kv_channels|qk_head_dim", 24),
    (r"qk_rope_head_dim|rotary_dim", 8),
    (r"qk_nope_head_dim|v_head_dim", 16),
    (r".*lora_rank", 20),
    (r"decoder_ffn_dim|.*decoder_intermediate_size", 88),
    (_FEED_FORWARD, 80),
    (_NARROW, 40),
    (r"(num|n)_(local_|routed_)?experts|num_local_experts|n_routed_experts|moe_num_experts", 4),
    (r"n_shared_experts|num_shared_experts|n_group|topk_group|num_expert_group|moe_num_shared_experts", 1),
    (r"num_experts_per_tok|num_selected_experts|moe_k|moe_topk|top_k_experts", 2),
    (_WIDTHS, WIDTH),
    (r"image_size", 48),
    (r"patch_size", 8),
    (r"window_size", 3),
    (r"num_queries|num_latents", 7),
    (r"num_conv_pos_embeddings", 16),
    (r"num_conv_pos_embedding_groups", 4),
    (r"num_mel_bins|feature_size|input_feat_per_channel", 16),
    (_WINDOWS, 16),
    (r".*channels_list|conv_channels", 24),
)
_COMPILED = tuple((re.compile(pattern), size) for pattern, size in _SIZES)

# Fields that a pattern matches and that are no sizes to shrink.
_KEEP = frozenset({
    "num_channels", "in_channels", "num_labels", "pad_token_id", "type_vocab_size", "max_2d_position_embeddings",
    "num_hidden_layers_to_skip", "num_feature_levels",
    "num_encoder_blocks",  # stages, one for each entry of `depths` and `hidden_sizes`
})  # fmt: skip


def small(config_class: type, exceptions: Mapping[str, Any]) -> Any:
    """The config of that class with small sizes; `exceptions` are values by field, dotted for the parts of a config."""
    try:
        default = config_class()
    except (TypeError, ValueError):  # a composition has no default: its parts are given
        return config_class(**deepcopy(dict(exceptions)))
    return config_class(**_values(default, exceptions))


def _values(default: Any, exceptions: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in vars(default).items():
        if name.startswith("_") or name in _KEEP:
            continue
        if hasattr(value, "to_dict"):
            values[name] = {"model_type": value.model_type, **_values(value, _below(exceptions, name))}
        elif (size := _shrunk(name, value)) is not None:
            values[name] = size
    return {**values, **{name: value for name, value in exceptions.items() if "." not in name}}


def _below(exceptions: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key.partition(".")[2]: value for key, value in exceptions.items() if key.startswith(f"{name}.")}


def _shrunk(name: str, value: Any) -> Any:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        size = next((size for pattern, size in _COMPILED if pattern.fullmatch(name)), value)
        # Positions also grow: the comparison takes 211 tokens and some more.
        return size if size < value or size == POSITIONS else None
    if isinstance(value, list) and value and all(type(one) is int for one in value):
        return _shrunk_list(name, value)
    return None


def _shrunk_list(name: str, values: list[int]) -> list[int] | None:
    """Sizes by stage: their order and equality stay."""
    if re.search(r"depths|layers|num_blocks|n_blocks", name):
        return [1] * (len(values) - 1) + [2]
    if re.search(r"heads", name):
        return [min(value, 2) for value in values]
    if re.search(r"hidden_sizes|embed_dim|neck_hidden|widths|fusion|dims|channels|conv_dim|embedding_size", name):
        return [16 + 8 * sorted(set(values)).index(value) for value in values]
    return None


def text_part(config: Any) -> Any:
    """The part of a config that describes text, or the config itself."""
    try:
        return config.get_text_config()
    except (AttributeError, ValueError):  # several parts: none of them is the one
        return config
