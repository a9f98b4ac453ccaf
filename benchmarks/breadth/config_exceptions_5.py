"""The exceptions of `config_exceptions` for types that only transformers 5 has: fields by model type, with reasons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Latent attention has one key and one value per head, and rotates a part of the head that has its own size.
_LATENT = {"num_key_value_heads": 3}
_LATENT_8 = {**_LATENT, "head_dim": 8}
# One layer of each kind: two layers alone would be of the first kind.
_LINEAR_AND_FULL = {"layer_types": ["linear_attention", "full_attention"]}
_EXPERTS = {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2}


def _few_filters(part: str) -> dict[str, Any]:
    """An encoder of sound whose filters double six times."""
    return {f"{part}.num_filters": 3, f"{part}.depths": [1] * 7}


EXCEPTIONS_5: Mapping[str, Mapping[str, Any]] = {
    **dict.fromkeys(("axk1", "longcat_flash", "youtu"), _LATENT_8),
    **dict.fromkeys(
        ("axk2", "deepseek_v32", "glm4_moe_lite", "glm_moe_dsa", "minicpm3", "mistral4"), _LATENT
    ),
    "kimi_linear": {**_LATENT_8, "num_experts_per_token": 2, **_LINEAR_AND_FULL},
    "bailing_hybrid": {**_LATENT_8, "num_experts_per_token": 2, **_LINEAR_AND_FULL, "first_k_dense_replace": 1},
    "bamba": {"attn_layer_indices": [1], "mamba_n_heads": 4, "mamba_d_head": 24},
    "granitemoehybrid": {**_LINEAR_AND_FULL, "mamba_n_heads": 4, "mamba_d_head": 24},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "lfm3": {"num_hidden_layers": 3, "layer_types": ["conv", "full_attention", "sliding_attention"]},
    **dict.fromkeys(("qwen3_5_text", "qwen3_5_moe_text", "qwen3_next"), _LINEAR_AND_FULL),
    "qwen4_exp_text": {"layer_types": ["linear_attention", "indexed_attention"], "indexer_n_heads": 3,
                       "indexer_kv_heads": 1, "indexer_head_dim": 32, "indexer_budget": 64,
                       "indexer_compress_ratio": 4},
    "recurrent_gemma": {"num_hidden_layers": 3, "lru_width": 48},
    "nemotron_h": {"mamba_num_heads": 4, "mamba_head_dim": 24, "n_groups": 2},
    "mamba2": {"num_heads": 4, "head_dim": 24, "n_groups": 2},
    "zamba": {"num_hidden_layers": 4, "layers_block_type": ["linear_attention", "hybrid"] * 2,
              "attention_hidden_size": 96, "attention_head_dim": 32, "num_key_value_heads": 3, "mamba_dt_rank": 3},
    "zamba2": {"num_hidden_layers": 4, "layers_block_type": ["linear_attention", "hybrid"] * 2,
               "attention_hidden_size": 96, "attention_head_dim": 32,
               "n_mamba_heads": 4, "mamba_headdim": 24, "num_key_value_heads": 3},
    "deepseek_v2": {**_LATENT, **_EXPERTS},
    "bert-generation": {"is_decoder": True},
    # Its own tokenizer has 33 tokens; the tokenizer of these checkpoints has more.
    "esmc": {"num_key_value_heads": 3, "head_dim": 16, "vocab_size": 389},
    # The widths of an EfficientNet, of which the last is that of the projection.
    "align": {
        "projection_dim": 40, "vision_config.width_coefficient": 1.0, "vision_config.depth_coefficient": 1.0,
        "vision_config.kernel_sizes": [3, 3, 5], "vision_config.in_channels": [32, 16, 24],
        "vision_config.out_channels": [16, 24, 40], "vision_config.strides": [1, 2, 2],
        "vision_config.num_block_repeats": [1, 1, 2], "vision_config.expand_ratios": [1, 6, 6],
    },
    # As its checkpoints for retrieval have it.
    "blip-2": {"qformer_config.use_qformer_text_input": True},
    "blt": {"encoder_hash_byte_group_vocab": 389},
    "cohere_compass_text": {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 10000.0}}},
    "dbrx": {"attn_config.rope_theta": 10000.0, "attn_config.clip_qkv": 8},
    "dots1": _EXPERTS,
    "hgnet_v2": {"hidden_sizes": [24, 32, 40, 48], "stem_channels": [3, 16, 24], "stage_in_channels": [24, 24, 32, 40],
                 "stage_mid_channels": [16, 16, 24, 24], "stage_out_channels": [24, 32, 40, 48],
                 "stage_numb_of_layers": [1, 1, 2, 1], "stage_num_blocks": [1, 1, 1, 1]},
    "luke": {"entity_vocab_size": 389, "entity_emb_size": 40},
    "granite_speech5_ctc": {"encoder_config.num_key_value_heads": 3},
    "moonshine_streaming": {"num_key_value_heads": 3},
    # ONNX Runtime's Fourier transform rounds more the longer the text is: 0.0011 in a score at 230 tokens, above the
    # bound of a validation.
    "fnet": {"max_position_embeddings": 170},
    # Layers of a window have twice the heads of keys and values.
    "mimo_v2_flash": {"num_attention_heads": 4},
    "bros": {"hidden_size": 192},
    "kyutai_speech_to_text": {"num_codebooks": 4, "codebook_vocab_size": 40, "audio_pad_token_id": 549,
                              "codec_config.upsample_groups": 48, "codec_config.num_filters": 8},
    # Its default names the layers with experts by their places among 42.
    "dots3_note": {"text_config.num_key_value_heads": 3, "vision_config.mlp_layer_types": ["dense", "sparse"],
                   "audio_config.adapter_input_size": 48},
    "nemo_speechlm": {"word_timestamp_config.blank_token_id": 388, "text_config.mamba_num_heads": 4,
                      "text_config.mamba_head_dim": 24, "text_config.n_groups": 2,
                      "audio_config.asr_config.num_key_value_heads": 3,
                      "audio_config.diarization_config.audio_config.num_key_value_heads": 3,
                      "word_timestamp_config.num_key_value_heads": 3},
    # 230 times what the encoder of sound makes one vector of.
    "vibevoice_asr": {"acoustic_tokenizer_chunk_size": 736000, **_few_filters("acoustic_tokenizer_encoder_config"),
                      **_few_filters("semantic_tokenizer_encoder_config")},
    "vibevoice": {**_few_filters("audio_config"), **_few_filters("semantic_model_config")},
    # Of its 81 letters the tokenizer of the benchmark has more.
    "speecht5": {"num_feat_extract_layers": 7, "vocab_size": 389},
    "shieldgemma2": {"mm_tokens_per_image": 9},
    "xmod": {"default_language": "en_XX"},
    "xlstm": {"hidden_size": 48, "embedding_dim": 48, "num_heads": 3},
}  # fmt: skip
