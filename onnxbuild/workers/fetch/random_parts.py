"""Files beside random weights: processors of images and audio, the modules of a sentence-transformer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_IMAGE_PROCESSORS: Mapping[str, str] = {"clip": "CLIPImageProcessor", "siglip": "SiglipImageProcessor"}

# RoBERTa and MPNet number positions from 2 on.
_RESERVED_POSITIONS = 2


def write_processor(config: Any, destination: Path) -> None:
    """Write preprocessor_config.json, from which exporters and pipelines read the size of images and audio."""
    if config.model_type == "whisper":
        _write_whisper(config, destination)
    elif hasattr(config, "feat_extract_norm"):
        from transformers import Wav2Vec2FeatureExtractor

        # Models that normalize each layer were trained with a mask, those that normalize a group without.
        masked = config.feat_extract_norm == "layer"
        Wav2Vec2FeatureExtractor(return_attention_mask=masked).save_pretrained(destination)
    elif config.model_type == "sam":
        _write_sam(config, destination)
    elif (size := _image_size(config)) is not None:
        kind = _IMAGE_PROCESSORS.get(config.model_type, "ViTImageProcessor")
        sides = {"height": size, "width": size}
        crop = {"size": {"shortest_edge": size}, "crop_size": sides} if kind == "CLIPImageProcessor" else {}
        _write(destination / "preprocessor_config.json", {"image_processor_type": kind, "size": sides, **crop})


def write_sentence_modules(config: Any, destination: Path) -> None:
    """Turn the checkpoint into a sentence-transformer: the mean of the tokens' vectors, scaled to length 1."""
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (path, kind) in enumerate(kinds.items())
    ]
    longest = getattr(config, "max_position_embeddings", 512) - _RESERVED_POSITIONS
    pooling = {"word_embedding_dimension": config.hidden_size, "pooling_mode_mean_tokens": True}
    _write(destination / "modules.json", modules)
    _write(destination / "1_Pooling" / "config.json", pooling)
    _write(destination / "sentence_bert_config.json", {"max_seq_length": longest, "do_lower_case": False})
    _write(destination / "config_sentence_transformers.json", {"similarity_fn_name": "cosine"})


def _write_whisper(config: Any, destination: Path) -> None:
    from transformers import WhisperFeatureExtractor

    default = WhisperFeatureExtractor()
    # The encoder halves the number of frames, and each hop gives one frame.
    seconds = max(1, 2 * config.max_source_positions * default.hop_length // default.sampling_rate)
    WhisperFeatureExtractor(feature_size=config.num_mel_bins, chunk_length=seconds).save_pretrained(destination)


def _write_sam(config: Any, destination: Path) -> None:
    """The longer side becomes as long as the encoder's image, and the shorter one is padded."""
    from transformers import SamImageProcessor, SamProcessor

    size, mask = config.vision_config.image_size, config.prompt_encoder_config.image_embedding_size * 4
    processor = SamImageProcessor(
        size={"longest_edge": size},
        pad_size={"height": size, "width": size},
        mask_size={"longest_edge": mask},
        mask_pad_size={"height": mask, "width": mask},
    )
    SamProcessor(processor).save_pretrained(destination)


def _image_size(config: Any) -> int | None:
    parts = (getattr(config, name, None) for name in ("vision_config", "encoder"))
    seeing = next((part for part in parts if part is not None), config)
    size: int | None = getattr(seeing, "image_size", None)
    return size


def _write(path: Path, content: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
