"""Small models that read more than text, pictures or audio, each with inputs for them that no code of ours made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers as hf

_SIZES = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40,
          "initializer_range": 0.2}  # fmt: skip
_TEXT = {**_SIZES, "vocab_size": 331, "max_position_embeddings": 70}
_PAGES = {**_TEXT, "max_2d_position_embeddings": 1024, "num_labels": 3}
_SEEN = {"text_config": {**_TEXT, "max_position_embeddings": 16}, "projection_dim": 20,
         "vision_config": {**_SIZES, "image_size": 48, "patch_size": 16}}  # fmt: skip
_SIDES = {**{f"{side}_{what}": size for side in ("encoder", "decoder")
             for what, size in (("layers", 1), ("attention_heads", 3), ("ffn_dim", 40))}, "d_model": 24}  # fmt: skip
_MASKS = {"mask_decoder_config": {"hidden_size": 16, "mlp_dim": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
                                  "iou_head_hidden_dim": 16},
          "prompt_encoder_config": {"hidden_size": 16, "image_size": 32, "patch_size": 8, "mask_input_channels": 4},
          "vision_config": {"hidden_size": 24, "output_channels": 16, "num_hidden_layers": 2, "num_attention_heads": 3,
                            "image_size": 32, "patch_size": 8, "window_size": 2, "global_attn_indexes": [1],
                            "mlp_ratio": 2.0, "num_pos_feats": 8}}  # fmt: skip

Feeds = Mapping[str, torch.Tensor]
_ROWS, _TOKENS = 3, 11  # shapes that no sample of ours has


class Model(NamedTuple):
    """A class of transformers with its config, the task, and inputs to compare its graph with it."""

    cls: str
    config: Mapping[str, Any]
    task: str
    feeds: Callable[[np.random.Generator], Feeds]
    processor: Callable[[Path], object] | None = None

    def save(self, folder: Path) -> Any:
        """Write the checkpoint, and return the model."""
        torch.manual_seed(5)
        cls = getattr(hf, self.cls)
        model = cls(cls.config_class(**self.config)).eval()
        model.save_pretrained(folder)
        if self.processor is not None:
            self.processor(folder)
        return model


def _noise(draw: np.random.Generator, *shape: int) -> torch.Tensor:
    return torch.from_numpy(draw.standard_normal((_ROWS, *shape), np.float32))


def _below(draw: np.random.Generator, bound: int, *shape: int) -> torch.Tensor:
    return torch.from_numpy(draw.integers(2, bound, (_ROWS, *shape)))


def _text(draw: np.random.Generator, tokens: int = _TOKENS) -> dict[str, torch.Tensor]:
    mask = torch.ones(_ROWS, tokens, dtype=torch.int64)
    mask[1, tokens // 2 :] = 0
    return {"input_ids": _below(draw, 331, tokens), "attention_mask": mask}


def _page(draw: np.random.Generator) -> dict[str, torch.Tensor]:
    corners = np.sort(draw.integers(0, 1000, (_ROWS, _TOKENS, 2, 2)), axis=2).reshape(_ROWS, _TOKENS, 4)
    return {**_text(draw), "bbox": torch.from_numpy(corners)}


def _save_pix2struct(folder: Path) -> None:
    from small_models import _tokenizer

    own = _tokenizer()
    tokens = {"eos_token": "<end>", "pad_token": "<end>", "unk_token": "<end>", "extra_ids": 0}
    tokenizer = hf.T5TokenizerFast(tokenizer_object=own._tokenizer, **tokens)
    images = hf.Pix2StructImageProcessor(patch_size={"height": 4, "width": 4}, max_patches=20)
    hf.Pix2StructProcessor(images, tokenizer).save_pretrained(folder)


def _patches(draw: np.random.Generator) -> Feeds:
    place = torch.arange(20).expand(_ROWS, 20)
    patches = _noise(draw, 20, 50)
    patches[..., 0], patches[..., 1] = place // 5 + 1, place % 5 + 1
    mask = torch.ones(_ROWS, 20, dtype=torch.int64)
    mask[2, 12:] = 0
    return {"flattened_patches": patches * mask[..., None], "attention_mask": mask}


def _frames(draw: np.random.Generator) -> Feeds:
    mask = torch.ones(_ROWS, 90, dtype=torch.int64)
    mask[0, 61:] = 0
    return {"input_features": _noise(draw, 90, 16), "attention_mask": mask}


def _points(draw: np.random.Generator) -> Feeds:
    return {"pixel_values": _noise(draw, 3, 32, 32), "input_points": 16 + 8 * _noise(draw, 1, 4, 2),
            "input_labels": _below(draw, 4, 1, 4) - 2}  # fmt: skip


def _tags(draw: np.random.Generator) -> Feeds:
    tags, subs = _below(draw, 31, _TOKENS, 7), _below(draw, 57, _TOKENS, 7)
    return {**_text(draw), "token_type_ids": torch.zeros(_ROWS, _TOKENS, dtype=torch.int64),
            "xpath_tags_seq": tags, "xpath_subs_seq": subs}  # fmt: skip


def _regions(draw: np.random.Generator) -> Feeds:
    mask = torch.ones(_ROWS, 4, dtype=torch.int64)
    mask[0, 3] = 0
    return {**_text(draw), "visual_embeds": _noise(draw, 4, 20), "visual_attention_mask": mask,
            "visual_token_type_ids": torch.ones_like(mask)}  # fmt: skip


_HEAR = "automatic-speech-recognition"
_SERIES = {"context_length": 40, "patch_length": 8, "patch_stride": 8, "num_input_channels": 3, "d_model": 10,
           "num_layers": 2, "prediction_length": 6}  # fmt: skip

MODELS: Mapping[str, Model] = {
    "layoutlm": Model("LayoutLMForSequenceClassification", _PAGES, "text-classification", lambda draw: {
        **_page(draw), "token_type_ids": torch.zeros(_ROWS, _TOKENS, dtype=torch.int64)}),
    "layoutlmv3": Model("LayoutLMv3ForSequenceClassification", {
        **_PAGES, "coordinate_size": 4, "shape_size": 4, "input_size": 48, "patch_size": 16},
        "text-classification", lambda draw: {**_page(draw), "pixel_values": _noise(draw, 3, 48, 48)},
        lambda folder: hf.LayoutLMv3ImageProcessor(size={"height": 48, "width": 48}).save_pretrained(folder)),
    "lilt": Model("LiltForTokenClassification", {**_PAGES, "hidden_size": 48, "channel_shrink_ratio": 4,
                                                 "pad_token_id": 1}, "token-classification", _page),
    "markuplm": Model("MarkupLMForTokenClassification", {
        **_TEXT, "max_depth": 7, "max_xpath_tag_unit_embeddings": 31, "max_xpath_subs_unit_embeddings": 57,
        "xpath_unit_hidden_size": 6, "tag_pad_id": 23, "subs_pad_id": 37, "pad_token_id": 1},
        "token-classification", _tags),
    "visual_bert": Model("VisualBertModel", {**_TEXT, "visual_embedding_dim": 20}, "feature-extraction", _regions),
    "patchtsmixer": Model("PatchTSMixerModel", _SERIES, "feature-extraction",
                          lambda draw: {"past_values": _noise(draw, 40, 3)}),
    "mgp-str": Model("MgpstrForSceneTextRecognition", {
        **_SIZES, "image_size": [16, 40], "patch_size": 4, "max_token_length": 9, "num_character_labels": 13,
        "num_bpe_labels": 71, "num_wordpiece_labels": 57}, "feature-extraction",
        lambda draw: {"pixel_values": _noise(draw, 3, 16, 40)}),
    "mctct": Model("MCTCTForCTC", {**_SIZES, "num_hidden_layers": 1, "vocab_size": 53, "attention_head_dim": 8,
                                   "max_position_embeddings": 230, "input_feat_per_channel": 20}, _HEAR,
                   lambda draw: {"input_features": _noise(draw, 91, 20)}),
    "owlvit": Model("OwlViTModel", _SEEN, "feature-extraction", lambda draw: {
        **_text(draw, 16), "pixel_values": _noise(draw, 3, 48, 48)}),
    "owlv2": Model("Owlv2Model", _SEEN, "feature-extraction", lambda draw: {
        **_text(draw, 16), "pixel_values": _noise(draw, 3, 48, 48)}),
    "audio-spectrogram-transformer": Model("ASTForAudioClassification", {
        **_SIZES, "patch_size": 16, "max_length": 100, "num_mel_bins": 48, "num_labels": 5}, "audio-classification",
        lambda draw: {"input_values": _noise(draw, 100, 48)}),
    "dinov2": Model("Dinov2ForImageClassification", {
        "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "image_size": 70, "patch_size": 14,
        "num_labels": 5, "initializer_range": 0.2}, "image-classification",
        lambda draw: {"pixel_values": _noise(draw, 3, 70, 70)}),
    "sam": Model("SamModel", _MASKS, "feature-extraction", _points),
    "pix2struct": Model("Pix2StructForConditionalGeneration", {
        "text_config": {"vocab_size": 611, "hidden_size": 24, "d_kv": 8, "d_ff": 40, "num_layers": 2, "num_heads": 3,
                        "decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1, "is_decoder": True},
        "vision_config": {"hidden_size": 24, "patch_embed_hidden_size": 48, "d_ff": 40, "d_kv": 8,
                          "num_hidden_layers": 2, "num_attention_heads": 3, "seq_len": 64, "patch_size": 4}},
        "image-to-text-with-past", _patches, _save_pix2struct),
    "speech_to_text": Model("Speech2TextForConditionalGeneration", {
        **_SIDES, "vocab_size": 211, "init_std": 0.2, "max_source_positions": 400, "max_target_positions": 70,
        "input_feat_per_channel": 16, "conv_channels": 20, "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2,
        "decoder_start_token_id": 2}, f"{_HEAR}-with-past", _frames),
    "moonshine": Model("MoonshineForConditionalGeneration", {
        "vocab_size": 211, "hidden_size": 24, "intermediate_size": 40, "max_position_embeddings": 70,
        "initializer_range": 0.2,
        **{f"{side}_num_{what}": size for side in ("encoder", "decoder")
           for what, size in (("hidden_layers", 1), ("attention_heads", 3), ("key_value_heads", 3))}},
        f"{_HEAR}-with-past", lambda draw: {"input_values": _noise(draw, 3100),
                                            "attention_mask": torch.ones(_ROWS, 3100, dtype=torch.int64)}),
}  # fmt: skip
