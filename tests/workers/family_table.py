"""The families of models that are tested from a config to the library that their users load them with.

One row per family and head. `docs/reference/families.md` is made from these tables; `test_families.py` runs every row
of the first and `test_families5.py` every row of the second through the real workers, so the page says what was run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

# Function of `family_loaders` → what it opens the files with.
LOADERS: Mapping[str, str] = {
    "classify_text": "transformers `pipeline` over optimum's `ORTModelForSequenceClassification`",
    "classify_tokens": "transformers `pipeline` over `ORTModelForTokenClassification`",
    "answer": "transformers `pipeline` over `ORTModelForQuestionAnswering`",
    "fill_mask": "transformers `pipeline` over `ORTModelForMaskedLM`",
    "choose": "`ORTModelForMultipleChoice`",
    "embed": 'sentence-transformers, `backend="onnx"`',
    "embed_in_graph": "`ORTModelForCustomTasks`: one call gives normalized sentence vectors",
    "rerank": 'sentence-transformers\' `CrossEncoder`, `backend="onnx"`',
    "write": "`ORTModelForCausalLM.generate`",
    "rewrite": "`ORTModelForSeq2SeqLM.generate`",
    "transcribe": "`ORTModelForSpeechSeq2Seq.generate`",
    "caption": "`ORTModelForVision2Seq.generate`",
    "classify_image": "transformers `pipeline` over `ORTModelForImageClassification`",
    "match_images": "`ORTModelForZeroShotImageClassification`",
    "classify_sound": "transformers `pipeline` over `ORTModelForAudioClassification`",
    "spell": "`ORTModelForCTC`",
    "spell_masked": "`ORTModelForCustomTasks` on audio with a mask, which `ORTModelForCTC` does not pass on",
}

TOKENS = 400  # of the tokenizers that are trained for these models

_SIZES = {
    "initializer_range": 0.1,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
_POSITIONS = {"max_position_embeddings": 130}
_TEXT = {**_SIZES, **_POSITIONS, "vocab_size": TOKENS}
_SEQ2SEQ = {
    "d_model": 32,
    **{f"{side}_{what}": 2 for side in ("encoder", "decoder") for what in ("layers", "attention_heads")},
    **{f"{side}_ffn_dim": 64 for side in ("encoder", "decoder")},
}
_DECODER = {**_TEXT, "num_key_value_heads": 1, "head_dim": 16}
_VISION = {**_SIZES, "image_size": 32, "patch_size": 8}
_WHISPER = {
    **_SEQ2SEQ, "vocab_size": TOKENS, "max_target_positions": 64, "num_mel_bins": 16,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1,
    "suppress_tokens": [], "begin_suppress_tokens": [],
}  # fmt: skip
_SPEECH = {**_SIZES, "conv_dim": [32] * 7, "vocab_size": 32, "num_conv_pos_embeddings": 16,
           "num_conv_pos_embedding_groups": 2}  # fmt: skip
_DEBERTA = {**_TEXT, "hidden_size": 64, "intermediate_size": 128, "type_vocab_size": 2, "relative_attention": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_biased_input": False, "max_relative_positions": 16}  # fmt: skip
_GEMMA3 = {**_DECODER, "num_hidden_layers": 3, "sliding_window": 16, "query_pre_attn_scalar": 16,
           "layer_types": ["sliding_attention", "sliding_attention", "full_attention"]}  # fmt: skip
_GENERATE = "text-generation-with-past"
_SUMMARIZE = "text2text-generation-with-past"


class Family(NamedTuple):
    """A family with one head: what it is made from, and what is defined for it.

    `loader`: the function of `family_loaders` that opens it as its users do. `optimize`: the highest level that it
    supports. `quantize`: methods. `words`: whether it has a tokenizer. `first`: whether its body is walked with it in
    every precision. `twice`: whether another process exports it again; `varies`: files whose bytes differ then.
    `made_for`: the task that the checkpoint was made for, if the export has another.
    """

    architecture: str
    task: str
    config: Mapping[str, Any]
    loader: str
    optimize: str = "O2"
    quantize: tuple[str, ...] = ("dynamic", "weight-only")
    words: bool = True
    first: bool = True
    twice: bool = True
    varies: tuple[str, ...] = ()
    made_for: str = ""
    library: str = "auto"

    @property
    def name(self) -> str:
        """Its name in tests and on the page."""
        head = "reranking" if self.loader == "rerank" else self.task.removesuffix("-with-past")
        return f"{self.architecture}-{head}"


def _heads(architecture: str, config: Mapping[str, Any], *tasks: str, **more: Any) -> list[Family]:
    """A family's heads, of which the first represents the body that they share."""
    first, *others = [Family(architecture, task, {**config, **_labels(task)}, _PIPELINES[task], **more)
                      for task in tasks]  # fmt: skip
    return [first, *(family._replace(first=False) for family in others)]


def _labels(task: str) -> Mapping[str, int]:
    return {"num_labels": 5} if task in {"text-classification", "token-classification"} else {}


_PIPELINES = {
    "text-classification": "classify_text",
    "token-classification": "classify_tokens",
    "question-answering": "answer",
    "fill-mask": "fill_mask",
    "multiple-choice": "choose",
}
_HEADS = tuple(_PIPELINES)

FAMILIES: tuple[Family, ...] = (
    *_heads("bert", _TEXT, *_HEADS),
    *_heads("roberta", _TEXT, *_HEADS),
    *_heads("distilbert", {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64, "vocab_size": TOKENS},
            *_HEADS),
    *_heads("modernbert", {**_TEXT, "local_attention": 16, "global_attn_every_n_layers": 2}, "text-classification",
            "token-classification", "fill-mask"),
    *_heads("deberta-v2", {**_DEBERTA, "position_buckets": 16, "norm_rel_ebd": "layer_norm", "share_att_key": True},
            *_HEADS),
    *_heads("deberta", _DEBERTA, *_HEADS[:4]),
    *_heads("mpnet", _TEXT, *_HEADS),
    Family("mpnet", "sentence-similarity", _TEXT, "embed_in_graph"),
    Family("mpnet", "feature-extraction", _TEXT, "embed", made_for="sentence-similarity", library="transformers"),
    Family("bert", "text-classification", {**_TEXT, "num_labels": 1}, "rerank"),
    Family("gpt2", _GENERATE, {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 130, "vocab_size": TOKENS},
           "write"),
    Family("llama", _GENERATE, _DECODER, "write"),
    Family("qwen3", _GENERATE, _DECODER, "write", optimize="O1"),
    Family("gemma3_text", _GENERATE, _GEMMA3, "write", optimize="O1"),
    Family("t5", _SUMMARIZE, {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2,
                              "vocab_size": TOKENS}, "rewrite"),
    Family("bart", _SUMMARIZE, {**_SEQ2SEQ, **_POSITIONS, "vocab_size": TOKENS}, "rewrite"),
    Family("whisper", "automatic-speech-recognition-with-past", _WHISPER, "transcribe", words=False),
    Family("vit", "image-classification", {**_VISION, "num_labels": 5}, "classify_image", words=False),
    Family("clip", "zero-shot-image-classification",
           {"text_config": {**_TEXT, "projection_dim": 32}, "vision_config": {**_VISION, "projection_dim": 32},
            "projection_dim": 32}, "match_images"),
    Family("siglip", "zero-shot-image-classification", {"text_config": _TEXT, "vision_config": _VISION},
           "match_images", optimize="O1"),
    Family("wav2vec2", "audio-classification", {**_SPEECH, "num_labels": 5}, "classify_sound", optimize="O1",
           words=False),
    Family("wav2vec2", "automatic-speech-recognition", _SPEECH, "spell", optimize="O1", words=False),
    Family("vision-encoder-decoder", "image-to-text-with-past",
           {"encoder": {"model_type": "vit", **_VISION},
            "decoder": {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 130,
                        "vocab_size": TOKENS, "add_cross_attention": True, "is_decoder": True}},
           "caption", optimize="O1"),
)  # fmt: skip


def again_in(families: Iterable[Family]) -> list[Family]:
    """The first family of each loader, of those that another process exports again: graphs of every kind."""
    return list({family.loader: family for family in reversed(list(families)) if family.twice}.values())


# What optimum does not export and transformers 5 does.
_MORE_HEADS = _heads("modernbert", {**_TEXT, "local_attention": 16, "global_attn_every_n_layers": 2},
                     "question-answering", "multiple-choice")  # fmt: skip

# Trained with a mask, which optimum's audio graphs do not take.
_MASKED_SOUND = Family(
    "hubert", "automatic-speech-recognition",
    {**_SPEECH, "feat_extract_norm": "layer", "do_stable_layer_norm": True}, "spell_masked", optimize="O1",
    words=False,
)  # fmt: skip


def _briefly(family: Family) -> Family:
    """Only exported and checked, with one layer: each takes long to trace, and another head goes all the way."""
    if family.first:
        return family
    layers = "n_layers" if family.architecture == "distilbert" else "num_hidden_layers"
    return family._replace(optimize="", quantize=(), twice=False, config={**family.config, layers: 1})


# The same families by transformers 5's own exporter.
FAMILIES_5: tuple[Family, ...] = tuple(
    _briefly(family) for family in (*FAMILIES, _MASKED_SOUND, *(family._replace(first=False) for family in _MORE_HEADS))
)
