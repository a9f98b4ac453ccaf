"""Where the rule of `small_config` does not do: fields by model type, dotted in the parts of a config, with reasons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SEEING = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 80,
           "image_size": 48, "patch_size": 8}  # fmt: skip
_WRITING = {"n_embd": 48, "n_layer": 2, "n_head": 3, "n_positions": 230, "vocab_size": 389, "bos_token_id": 1,
            "eos_token_id": 2, "pad_token_id": 0}  # fmt: skip
_READING = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 80,
            "max_position_embeddings": 230, "vocab_size": 389, "bos_token_id": 1, "eos_token_id": 2,
            "pad_token_id": 0}  # fmt: skip
_CROSS = {"is_decoder": True, "add_cross_attention": True}

# transformers' default backbone comes from timm, whose weights are on the Hub; its own ResNet is as good.
_OWN_BACKBONE = {
    "use_timm_backbone": False,
    "use_pretrained_backbone": False,
    "backbone": None,
    "backbone_config": {"model_type": "resnet", "embedding_size": 16, "hidden_sizes": [16, 24, 32, 40],
                        "depths": [1, 1, 1, 2], "out_features": ["stage4"]},
}  # fmt: skip

EXCEPTIONS: Mapping[str, Mapping[str, Any]] = {
    # Compositions have no default parts.
    "encoder-decoder": {
        "encoder": {"model_type": "bert", **_READING},
        # As bert2gpt2: optimum has no past for BERT as a decoder, which lint says.
        "decoder": {"model_type": "gpt2", **_WRITING, **_CROSS},
    },
    "vision-encoder-decoder": {
        "encoder": {"model_type": "vit", **_SEEING},
        "decoder": {"model_type": "gpt2", **_WRITING, **_CROSS},
    },
    "speech-encoder-decoder": {
        "encoder": {"model_type": "wav2vec2", "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3,
                    "intermediate_size": 80, "conv_dim": [24] * 7, "num_conv_pos_embeddings": 16,
                    "num_conv_pos_embedding_groups": 4},
        "decoder": {"model_type": "gpt2", **_WRITING, **_CROSS},
    },
    "detr": _OWN_BACKBONE,
    "table-transformer": _OWN_BACKBONE,
    # No default: the config describes no model without it.
    "esm": {"vocab_size": 389, "mask_token_id": 4, "pad_token_id": 0, "position_embedding_type": "rotary"},
    "nemotron": {"head_dim": 24, "num_key_value_heads": 1},
    "wav2vec2-conformer": {"vocab_size": 389},
    "wav2vec2-bert": {"vocab_size": 389},
    # Four stages halve the picture, and the last one must still have a whole window.
    "swin": {"image_size": 96},
    "swinv2": {"image_size": 96},
    "donut-swin": {"image_size": 96},
    # The default is a picture of 512 × 864, which is not one size to shrink.
    "yolos": {"image_size": [64, 96]},
    # optimum traces with 3000 frames, whatever the config says.
    "whisper": {"max_source_positions": 1500},
    # Its attention is split into four parts.
    "codegen": {"n_head": 4},
    # The class sets it to the part of a head that rotates; keys and values are made from one latent for every head.
    "deepseek_v3": {"head_dim": 8, "num_key_value_heads": 3},
    # Four convolutions halve the picture, whatever the size of a patch says.
    "levit": {"image_size": 80, "patch_size": 16},
    # As in its checkpoints, the config says how many tokens a picture has (48 / 8 squared), and pictures become as wide
    # as tokens.
    "colpali": {"vlm_config.vision_config.num_image_tokens": 36, "vlm_config.text_config.num_image_tokens": 36,
                "vlm_config.vision_config.hidden_size": 36, "vlm_config.vision_config.projection_dim": 48,
                "vlm_config.text_config.num_key_value_heads": 1, "vlm_config.projection_dim": 48,
                "vlm_config.image_token_index": 389, "embedding_dim": 20},
    # Three positions per step, of which the comparison takes 211.
    "decision_transformer": {"n_positions": 1024},
    # optimum traces with 16 tokens, which must not happen to be a whole window.
    "longformer": {"attention_window": [24, 24]},
    # Its output projection is square, so that heads times their size are the width.
    "helium": {"head_dim": 16},
    "mctct": {"attention_head_dim": 16},
    # Each block takes what the one before it gives; a quarter of the 1280 channels that its code ends with.
    "efficientnet": {"width_coefficient": 0.25, "depth_coefficient": 0.5, "hidden_dim": 320,
                     "in_channels": [32, 16, 24, 40, 80, 112, 192], "out_channels": [16, 24, 40, 80, 112, 192, 320]},
    # Four coordinates and two sizes of a box make the width: 4 * 9 + 2 * 6.
    "layoutlmv3": {"coordinate_size": 9, "shape_size": 6, "input_size": 56},
    # Two fields say the same.
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "squeezebert": {"embedding_size": 48},
    # Heads that must divide a width which the rule does not set.
    "mobilevit": {"num_attention_heads": 2, "hidden_sizes": [32, 40, 48]},
    # Its own tokenizer has 262 tokens, the default; the tokenizer of these checkpoints has more.
    "perceiver": {"num_self_attention_heads": 2, "num_cross_attention_heads": 2, "d_latents": 48, "d_model": 40,
                  "vocab_size": 389},
    "bit": {"embedding_size": 32, "hidden_sizes": [32, 64, 96, 128], "num_groups": 8},
    # The attention of its bottleneck is narrower than the model, and its heads divide it.
    "mobilebert": {"intra_bottleneck_size": 36},
    # Grouped attention is not in these, or needs two groups. transformers 4 reads the queries of moonshine by the
    # number of its key-value heads, and no published checkpoint has fewer of them than heads.
    "moonshine": {"encoder_num_key_value_heads": 3, "decoder_num_key_value_heads": 3},
    "diffllama": {"num_attention_heads": 4, "num_key_value_heads": 2},
    "dots3_note_text": {"num_key_value_heads": 3},
    # Heads of a state-space layer times their size are the inner width.
    "mamba2": {"num_heads": 4, "head_dim": 24},
    "falcon_h1": {"mamba_d_ssm": 96, "mamba_n_heads": 4, "mamba_d_head": 24},
    # The default leaves the size of a head open, which the rotary embedding reads.
    "hunyuan_v1_dense": {"head_dim": 24},
    "hunyuan_v1_moe": {"head_dim": 24},
    "ministral": {"head_dim": 24},
    # A quarter of the head rotates, along two axes.
    "neomme": {"head_dim": 32},
    # Text and pictures meet at the width of the vision model.
    "siglip": {"text_config.hidden_size": 36, "text_config.projection_size": 48},
    # Pictures leave their encoder at the width of the decoder, whose positions are halves of it.
    "sam": {"vision_config.output_channels": 32, "vision_config.num_pos_feats": 16, "vision_config.image_size": 96,
            "vision_config.global_attn_indexes": [1], "prompt_encoder_config.hidden_size": 32,
            "prompt_encoder_config.image_size": 96, "prompt_encoder_config.image_embedding_size": 12,
            "mask_decoder_config.hidden_size": 32, "mask_decoder_config.num_attention_heads": 2},
    # The pixels of a patch, in three colors; heads that make up the width.
    "pix2struct": {"vision_config.patch_embed_hidden_size": 192, "text_config.d_kv": 16},
    # `PvtConfig` forgets any other number of labels when it is loaded.
    "pvt": {"num_labels": 1000},
    # A width that must follow from another one.
    "fun_asr_nano": {"adaptor_config.intermediate_size": 12},
    # One entry per layer.
    "laguna": {"num_attention_heads_per_layer": [3, 3]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "llama4_text": {"layer_types": ["chunked_attention", "full_attention"], "no_rope_layers": [1, 0]},
    "llama4": {"text_config.layer_types": ["chunked_attention", "full_attention"],
               "text_config.no_rope_layers": [1, 0]},
    "gemma3n_text": {"num_kv_shared_layers": 0},
    "reformer": {"axial_pos_embds": False},
}  # fmt: skip
