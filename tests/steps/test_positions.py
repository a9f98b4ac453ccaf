"""What a config says about lengths."""

import pytest

from onnxbuild.tables.positions import changes_at, may_read_text, positions_of

DYNAMIC = {"rope_type": "dynamic", "factor": 2.5}


@pytest.mark.parametrize(
    ("config", "positions"),
    [
        (None, None),
        ({}, None),
        ({"n_positions": 77}, 77),
        ({"max_position_embeddings": 514, "n_positions": 0}, 514),
        ({"max_position_embeddings": 514, "text_config": {"max_position_embeddings": 77}}, 77),
        ({"max_position_embeddings": 160, "rope_scaling": DYNAMIC}, 400),
        ({"max_position_embeddings": 160, "rope_scaling": {"type": "dynamic", "factor": 3}}, 480),
        ({"text_config": {"max_position_embeddings": 160, "rope_parameters": DYNAMIC}}, 400),
        ({"max_position_embeddings": 160, "rope_scaling": {"rope_type": "linear", "factor": 2.0}}, 160),
        ({"max_position_embeddings": 160, "rope_scaling": {"rope_type": "dynamic", "factor": 0.5}}, 160),
        ({"max_position_embeddings": 160, "rope_scaling": None}, 160),
        ({"max_position_embeddings": 514, "model_type": "roberta"}, 512),
        ({"max_position_embeddings": 514, "model_type": "lilt", "pad_token_id": 3}, 510),
        ({"max_position_embeddings": 514, "model_type": "bert", "pad_token_id": 3}, 514),
    ],
)
def test_positions_are_those_of_the_text_and_reach_further_where_a_rotary_embedding_grows(config, positions):
    assert positions_of(config) == positions


@pytest.mark.parametrize(
    ("config", "constants"),
    [
        ({}, {}),
        ({"max_position_embeddings": 160, "hidden_size": 64, "vocab_size": 99}, {}),
        ({"chunk_size": 64, "sliding_window": None}, {"chunk_size": 64}),
        ({"sliding_window": 150, "use_sliding_window": True}, {"sliding_window": 150}),
        ({"attention_window": [32, 48, 16]}, {"attention_window": 48}),
        ({"block_size": 16, "attention_type": "block_sparse"}, {"block_size": 16}),
        ({"block_size": 16, "attention_type": "block_sparse", "num_random_blocks": 3},
         {"block_size": 16, "attention_type": 176}),
        ({"relative_attention_num_buckets": 32, "relative_attention_max_distance": 128},
         {"relative_attention_num_buckets": 32, "relative_attention_max_distance": 128}),
        ({"original_max_position_embeddings": 150}, {"original_max_position_embeddings": 150}),
        ({"rope_scaling": {"rope_type": "yarn", "original_max_position_embeddings": 96}},
         {"original_max_position_embeddings": 96}),
        ({"text_config": {"mamba_chunk_size": 256}}, {"mamba_chunk_size": 256}),
        ({"vision_config": {"window_size": 7}, "audio_config": {"chunk_size": 9}, "id2label": {"local": 3}}, {}),
        ({"max_position_embeddings": 160, "rope_scaling": DYNAMIC}, {"max_position_embeddings": 160}),
        ({"local_attention": True, "block_size": -1}, {}),
    ],
)  # fmt: skip
def test_entries_after_which_a_model_computes_in_another_way(config, constants):
    assert changes_at(config) == constants


@pytest.mark.parametrize(
    ("config", "reads"),
    [
        (None, True),
        ({"model_type": "bert"}, True),
        ({"model_type": "patchtst", "context_length": 40}, False),
        ({"model_type": "mgp-str", "image_size": [32, 128]}, False),
        ({"model_type": "layoutlmv3", "vocab_size": 99, "num_channels": 3}, True),
        ({"model_type": "owlv2", "text_config": {}, "image_size": 9}, True),
        ({"model_type": "vision-encoder-decoder", "decoder": {"vocab_size": 9}, "image_size": 9}, True),
    ],
)
def test_a_model_of_pictures_or_series_reads_no_text(config, reads):
    assert may_read_text(config) is reads
