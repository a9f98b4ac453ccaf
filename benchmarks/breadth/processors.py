"""Tokenizers and processors beside a small checkpoint, from the classes that transformers lists for its type."""

from __future__ import annotations

import inspect
import json
from functools import cache
from pathlib import Path
from typing import Any

import transformers
from small_config import VOCABULARY, text_part
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

_SPECIAL = {"pad": "<pad>", "bos": "<s>", "eos": "</s>", "unk": "<unk>", "mask": "<mask>", "cls": "<s>", "sep": "</s>"}
# Pix2Struct cuts pictures of any size into as many patches as its processor says, each of 8 × 8 pixels here.
_PATCHES = {"max_patches": 40, "patch_size": {"height": 8, "width": 8}}
_TEXT = "A build that exits with zero delivers the model that went in, for short and for long inputs alike.\n" * 20


def save_processors(model_type: str, config: Any, task: str, folder: Path) -> None:
    """Write what reads the inputs of this model: words, pictures, sound."""
    if _reads_words(config, task):
        _tokenizer(model_type, task).save_pretrained(folder)
    if "audio" in task or "speech" in task:
        _save_sound(model_type, config, folder)
    elif pictures := _size_of_pictures(config):
        _save_pictures(model_type, pictures, folder)


def _reads_words(config: Any, task: str) -> bool:
    return bool(getattr(text_part(config), "vocab_size", 0)) and "audio" not in task


# Its processor takes no other class, and would read a tokenizer of another one anew, with other ids.
_TOKENIZERS = {"layoutlmv3": "LayoutLMv3TokenizerFast"}


def _tokenizer(model_type: str, task: str) -> Any:
    frame = "" if task.startswith("text-generation") else "<s> $A </s>"
    kind = getattr(transformers, _TOKENIZERS.get(model_type, "PreTrainedTokenizerFast"))
    return kind(
        tokenizer_object=_trained(frame), model_input_names=["input_ids", "attention_mask"],
        **{f"{role}_token": token for role, token in _SPECIAL.items()},
    )  # fmt: skip


@cache
def _trained(frame: str) -> Tokenizer:
    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    special = list(dict.fromkeys(_SPECIAL.values()))
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY - 4, special_tokens=special, initial_alphabet=alphabet,
                                  show_progress=False)  # fmt: skip
    words.train_from_iterator(_TEXT.splitlines(), trainer)
    if frame:
        ids = [(token, words.token_to_id(token)) for token in ("<s>", "</s>")]
        words.post_processor = processors.TemplateProcessing(
            single=frame, pair=f"{frame} $B:1 </s>:1", special_tokens=ids
        )
    return words


def _size_of_pictures(config: Any) -> int | None:
    for part in (config, getattr(config, "vision_config", None), getattr(config, "encoder", None)):
        size = getattr(part, "image_size", getattr(part, "input_size", None))  # LayoutLMv3 has the second
        if isinstance(size, int):
            return size
        sees = hasattr(part, "patch_size") or hasattr(part, "patch_embed_hidden_size")
        if sees or (part is config and _is_only_vision(config)):
            return 64
    return None


def _is_only_vision(config: Any) -> bool:
    return not hasattr(config, "vocab_size") and getattr(config, "num_channels", 0) == 3


def _save_pictures(model_type: str, size: int, folder: Path) -> None:
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES as NAMES

    listed = NAMES.get(model_type) or ()
    names = listed.values() if isinstance(listed, dict) else listed if isinstance(listed, tuple) else (listed,)
    name = next((name for name in names if name and not name.endswith("Fast")), "ViTImageProcessor")
    side = {"height": size, "width": size}
    try:
        kind = getattr(transformers, name)
        known = inspect.signature(kind.__init__).parameters
        more = {**({"crop_size": side} if "crop_size" in known else {}), **(_PATCHES if "max_patches" in known else {})}
        kind(size=side, **more).save_pretrained(folder)
    except ValueError:
        kind(size={"shortest_edge": size}).save_pretrained(folder)
    except ImportError:  # torchvision is missing, and only the file is needed
        content = {"image_processor_type": name, "size": side, "crop_size": side}
        (folder / "preprocessor_config.json").write_text(json.dumps(content), encoding="utf-8")


def _save_sound(model_type: str, config: Any, folder: Path) -> None:
    from transformers.models.auto.feature_extraction_auto import FEATURE_EXTRACTOR_MAPPING_NAMES as NAMES

    name = NAMES.get(model_type) or "Wav2Vec2FeatureExtractor"
    kind = getattr(transformers, name)
    known = inspect.signature(kind.__init__).parameters
    bins = getattr(config, "num_mel_bins", None)
    fields = {"feature_size": bins, "num_mel_bins": bins, "max_length": getattr(config, "max_length", None)}
    given = {name: value for name, value in fields.items() if value and name in known}
    if model_type == "whisper":
        given["chunk_length"] = max(1, 2 * config.max_source_positions * 160 // 16000)
    try:
        kind(**given).save_pretrained(folder)
    except ImportError:  # a package is missing, and only the file is needed
        content = {"feature_extractor_type": name, **given}
        (folder / "preprocessor_config.json").write_text(json.dumps(content), encoding="utf-8")
