from __future__ import annotations

import json

import pytest
from msgspec import structs

for module in ("numpy", "transformers"):
    pytest.importorskip(module)

import numpy as np  # noqa: E402
from small_models import minilm  # noqa: E402

from onnxbuild.protocol import CheckFailed  # noqa: E402
from onnxbuild.workers.engines.engine import InputSpec  # noqa: E402
from onnxbuild.workers.inputs.other_inputs import config_sizes  # noqa: E402
from onnxbuild.workers.inputs.sample_source import Source  # noqa: E402
from onnxbuild.workers.inputs.samples import probes, shaped  # noqa: E402
from onnxbuild.workers.inputs.sentences import SENTENCES  # noqa: E402
from onnxbuild.workers.validate.sanity.without_text import without_text  # noqa: E402

TEXT = {name: InputSpec(("batch_size", "sequence_length"), "tensor(int64)") for name in ("input_ids", "attention_mask")}
POSITIONS = {"position_ids": InputSpec(("batch_size", "sequence_length"), "tensor(int64)")}


@pytest.fixture
def source(tmp_path):
    """A model without a tokenizer, described by its config and by what its graph takes."""
    return lambda inputs=TEXT, *, causal=False, **config: Source(
        folder=tmp_path, config={"vocab_size": 50, **config}, tokenizer=None, inputs=inputs, causal=causal, seed=0
    )


def test_rows_are_of_unequal_length_and_padded_on_the_right(source):
    sample = shaped(source(), 4, 8)
    assert sample.feeds["attention_mask"].tolist() == [[1] * n + [0] * (8 - n) for n in (8, 7, 6, 5)]
    assert sample.tokens == 26
    assert sample.label == "shape 4×8"
    assert (sample.feeds["input_ids"] < 50).all()


def test_a_decoder_is_padded_on_the_left_and_counts_positions_from_its_first_token(source):
    sample = shaped(source(TEXT | POSITIONS, causal=True), 2, 4)
    assert sample.feeds["attention_mask"].tolist() == [[1, 1, 1, 1], [0, 1, 1, 1]]
    assert sample.feeds["position_ids"].tolist() == [[0, 1, 2, 3], [0, 0, 1, 2]]


def test_a_benchmark_has_no_padding(source):
    assert shaped(source(), 3, 5, padded=False).tokens == 15


def test_a_sample_is_the_same_each_time_and_differs_from_others(source):
    images = source({"pixel_values": InputSpec(("batch_size", 3, "height", "width"), "tensor(float)")}, image_size=8)
    first, again, other = shaped(images, 2, 8), shaped(images, 2, 8), shaped(images, 2, 64)
    assert np.array_equal(first.feeds["pixel_values"], again.feeds["pixel_values"])
    assert not np.array_equal(first.feeds["pixel_values"], other.feeds["pixel_values"])
    assert first.feeds["pixel_values"].shape == (2, 3, 8, 8)
    assert (first.mask, first.label) == (None, "batch 2")


def test_sound_that_a_model_reads_in_frames_is_whole_frames(source):
    sound = {"input_values": InputSpec(("batch_size", "samples"), "tensor(float)")}
    framed = source(sound, encoder_config={"sample_rate": 16000, "frame_ms": 5.0})  # 80 samples each
    assert [shaped(framed, 2, tokens).feeds["input_values"].shape[1] for tokens in (1, 7, 85)] == [960, 1680, 21200]
    assert shaped(source(sound), 2, 85).feeds["input_values"].shape[1] == 21250


def test_the_size_of_an_image_may_stand_in_the_processor(source, tmp_path):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"size": {"height": 10, "width": 12}}))
    spec = InputSpec(("batch_size", "num_channels", "height", "width"), "tensor(float)")
    assert shaped(source({"pixel_values": spec}), 1, 1).feeds["pixel_values"].shape == (1, 3, 10, 12)


def test_what_the_graph_fixes_is_followed(source):
    sample = shaped(source({"input_features": InputSpec(("batch_size", 128, 3000), "tensor(float)")}), 1, 8)
    assert sample.feeds["input_features"].shape == (1, 128, 3000)


def test_multiple_choice_has_an_axis_more(source):
    spec = InputSpec(("batch_size", "num_choices", "sequence_length"), "tensor(int64)")
    sample = shaped(source(dict.fromkeys(TEXT, spec)), 2, 4)
    assert sample.feeds["input_ids"].shape == sample.feeds["attention_mask"].shape == (2, 3, 4)
    assert sample.mask is None


def test_an_input_that_is_not_numbers_is_refused(source):
    with pytest.raises(CheckFailed) as caught:
        shaped(source(TEXT | {"texts": InputSpec(("batch_size",), "tensor(string)")}), 1, 4)
    wanted = "OBE37 the graph takes an input `texts` for which no sample can be made: its type is tensor(string)"
    assert str(caught.value) == wanted


def test_an_input_whose_size_no_config_names_is_refused(source):
    spec = InputSpec(("batch_size", "sequence_length", "num_input_channels"), "tensor(float)")
    with pytest.raises(CheckFailed, match=r"`past_values` .* config.json has no `context_length`"):
        shaped(source({"past_values": spec}), 1, 4)


@pytest.mark.parametrize(
    ("name", "axes", "config", "shape", "bounds"),
    [
        ("bbox", ("s", 4), {}, (2, 6, 4), (0, 1000)),
        ("xpath_tags_seq", ("s", "d"), {"max_depth": 7, "max_xpath_tag_unit_embeddings": 31}, (2, 6, 7), (0, 30)),
        ("xpath_subs_seq", ("s", "d"), {"max_depth": 7, "max_xpath_subs_unit_embeddings": 57}, (2, 6, 7), (0, 56)),
        ("visual_embeds", ("n", "d"), {"visual_embedding_dim": 20}, (2, 5, 20), (-9, 9)),
        ("visual_token_type_ids", ("n",), {"type_vocab_size": 2}, (2, 5), (0, 1)),
        ("visual_attention_mask", ("n",), {}, (2, 5), (1, 1)),
        ("past_values", ("sequence_length", 3), {"context_length": 40}, (2, 40, 3), (-9, 9)),
        ("timesteps", ("s",), {"max_ep_len": 9}, (2, 6), (0, 8)),
        ("input_points", ("m", "n", 2), {"vision_config": {"image_size": 32}}, (2, 2, 3, 2), (0, 32)),
        ("input_labels", ("m", "n"), {}, (2, 2, 3), (0, 1)),
        ("global_attention_mask", ("s",), {}, (2, 6), (0, 1)),
        ("of_nobody", ("some_sequence", "width", 4), {"width": 3}, (2, 6, 3, 4), (0, 1)),
    ],
)
def test_other_inputs_follow_the_graph_and_the_config(source, name, axes, config, shape, bounds):
    found = shaped(source(TEXT | {name: InputSpec(("batch", *axes), "tensor(int64)")}, **config), 2, 6)
    value = found.feeds[name]
    assert value.shape == shape
    assert bounds[0] <= value.min() <= value.max() <= bounds[1]


@pytest.mark.parametrize(
    ("name", "axes", "config", "sizes"),
    [
        ("pixel_values", ("c", "h", "w"), {"vision_config": {"num_channels": 1}}, {1: 1}),
        ("pixel_values", ("c", "h", "w"), {}, {1: 3}),
        ("pixel_values", (3, "h", "w"), {}, {}),
        ("pixel_values", ("frames", "c", "h", "w"), {}, {}),
        ("xpath_tags_seq", ("s", "d"), {"max_depth": 7}, {2: 7}),
        ("past_values", ("s", "c"), {"context_length": 40, "num_input_channels": 2}, {1: 40, 2: 2}),
        ("past_values", ("s", 1), {}, {}),  # nothing says how long the series is
        ("input_points", ("m", "n", 2), {}, {}),
        ("input_ids", ("s",), {}, {}),
    ],
)
def test_axes_that_the_config_gives_one_size(source, name, axes, config, sizes):
    spec = InputSpec(("batch", *axes), "tensor(float)")
    assert config_sizes(source({name: spec}, **config), name, spec) == sizes


def test_the_second_corner_of_a_box_is_not_before_the_first(source):
    boxes = shaped(source(TEXT | {"bbox": InputSpec(("b", "s", 4), "tensor(int64)")}), 4, 32).feeds["bbox"]
    assert (boxes[..., :2] <= boxes[..., 2:]).all()


def test_patches_have_their_place_and_a_mask(source):
    takes = {"flattened_patches": InputSpec(("b", 20, 50), "tensor(float)"),
             "attention_mask": InputSpec(("b", 20), "tensor(int64)")}  # fmt: skip
    found = shaped(source(takes), 2, 8).feeds
    assert found["flattened_patches"][0, :7, :2].tolist() == [[1, n] for n in range(1, 6)] + [[2, 1], [2, 2]]
    assert found["attention_mask"].sum(axis=1).tolist() == [20, 20]  # no row is shorter than convolutions can read


def test_frames_are_masked_where_the_graph_takes_a_mask(source):
    takes = {"input_features": InputSpec(("b", "frames", 16), "tensor(float)"),
             "attention_mask": InputSpec(("b", "frames"), "tensor(int64)")}  # fmt: skip
    found = shaped(source(takes, max_position_embeddings=9), 2, 64).feeds
    assert found["input_features"].shape == (2, 256, 16)
    assert found["attention_mask"].sum(axis=1).tolist() == [256, 192]
    assert not found["input_features"][1, 192:].any()


def test_too_long_a_sequence_is_refused(source):
    assert shaped(source(max_position_embeddings=16), 1, 16).tokens == 16
    with pytest.raises(CheckFailed) as caught:
        shaped(source(max_position_embeddings=16), 1, 17)
    assert str(caught.value) == "OBE38 17 tokens do not fit the model's 16 positions"
    compiled = structs.replace(source(max_position_embeddings=16), longest=9)
    assert shaped(compiled, 1, 9).tokens == 9
    with pytest.raises(CheckFailed) as caught:
        shaped(compiled, 1, 10)
    assert str(caught.value) == "OBE251 10 tokens do not fit the variant, which is compiled for 9"


def test_without_a_tokenizer_probes_are_seeded(source):
    found = probes(source())
    assert sum(sample.rows for sample in found) == len(SENTENCES)
    assert all(sample.probe and sample.label.startswith("seeded 8×") for sample in found)


def test_a_decoder_starts_where_its_config_says(source):
    sample = shaped(source(decoder_start_token_id=7), 3, 4)
    assert sample.decoder_ids[:, 0].tolist() == [7, 7, 7]
    assert (sample.decoder_ids.shape, sample.step_ids.shape) == ((3, 8), (3, 3))


@pytest.mark.heavy
def test_sentences_are_real_tokens(tmp_path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(minilm().checkpoint)
    real = Source(folder=tmp_path, config={}, tokenizer=tokenizer, inputs=TEXT, causal=False, seed=0)
    row = shaped(real, 1, 12).feeds["input_ids"][0]
    assert tokenizer.decode(row) == "[CLS] the ferry leaves at seven, and the last bus [SEP]"
    assert tokenizer.decode(probes(real)[0].feeds["input_ids"][1], skip_special_tokens=True) == "yes."
    longest = shaped(real, 1, 2000, padded=False)
    assert (longest.tokens, int(longest.feeds["attention_mask"].min())) == (2000, 1)


def test_a_model_of_text_without_a_tokenizer_is_warned_of(tmp_path):
    def source(inputs, tokenizer=None, **config):
        return Source(folder=tmp_path, config=config, tokenizer=tokenizer, inputs=inputs, causal=False, seed=0)

    (warning,) = without_text(source(TEXT, vocab_size=100), "text-classification")
    assert "`tokenizer.save_pretrained`" in warning
    assert without_text(source(TEXT, tokenizer=object(), vocab_size=100), "text-classification") == []
    assert without_text(source({"pixel_values": None}, image_size=8), "image-classification") == []
    assert without_text(source(TEXT, vocab_size=100), "image-classification") == []
