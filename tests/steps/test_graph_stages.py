"""Which graphs of a folder are one model."""

import pytest

from onnxbuild.tables.graph_stages import ambiguous_names, incomplete, stages_of, why_not_one_model

_SEES = {"vision_encoder.onnx": ("pixel_values",)}
_CUTS = {"prompt_encoder_mask_decoder.onnx": ("input_points", "input_labels", "image_embeddings")}


def test_an_encoder_of_pictures_and_the_decoder_of_masks_are_one_model():
    assert why_not_one_model({**_SEES, **_CUTS}) is None
    assert ambiguous_names([*_SEES, *_CUTS]) == ()
    assert stages_of("prompt_encoder_mask_decoder.onnx", ("input_points",)) == {"mask_decoder": None}


def test_masks_need_what_the_encoder_saw():
    why = "`prompt_encoder_mask_decoder.onnx` reads what the graph of the vision_encoder computes, and there is none"
    assert incomplete(_CUTS) == why


@pytest.mark.parametrize(
    "other",
    [{"embed_tokens.onnx": ("input_ids",)}, {"text_model.onnx": ("input_ids", "attention_mask")},
     {"decoder_model_merged.onnx": ("inputs_embeds", "past_key_values.0.key")}],
)  # fmt: skip
def test_the_encoder_of_a_language_model_for_pictures_is_not_one_model_with_its_other_graphs(other):
    assert "two models" in why_not_one_model({**_SEES, **other})


def test_an_encoder_of_pictures_alone_is_a_model():
    assert why_not_one_model(_SEES) is None


@pytest.mark.parametrize("other", ["embed_tokens.onnx", "model.onnx"])
def test_by_their_names_parts_of_other_models_are_ambiguous(other):
    assert ambiguous_names([*_SEES, other]) == tuple(sorted([*_SEES, other]))
