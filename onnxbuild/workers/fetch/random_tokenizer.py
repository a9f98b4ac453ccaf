"""Trains a byte-level BPE tokenizer on text files, with the special tokens that a family of models expects."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from onnxbuild.protocol import CheckFailed
from onnxbuild.workers.folders.model_files import files_below

# A byte-level tokenizer starts with one token for each byte; with fewer it could not encode every text.
_BYTES = 256

_CLASS = "PreTrainedTokenizerFast"

_BERT_LIKE = ("bert", "distilbert", "electra", "mpnet", "modernbert", "deberta", "deberta-v2", "albert", "nomic_bert")
_ROBERTA_LIKE = ("roberta", "xlm-roberta", "camembert", "bart", "mbart")
_TYPED = ("bert", "electra", "albert", "deberta", "deberta-v2", "nomic_bert")
_T5_LIKE = ("t5", "mt5", "longt5", "umt5")


class _Special(NamedTuple):
    """The special tokens of a family by role, and the templates of one text ("$A") and of two, if any."""

    tokens: Mapping[str, str]
    template: str | None
    pair: str | None


_BERT = _Special(
    {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"},
    "[CLS] $A [SEP]",
    "[CLS] $A [SEP] $B:1 [SEP]:1",
)
_ROBERTA = _Special(
    {"bos": "<s>", "pad": "<pad>", "eos": "</s>", "unk": "<unk>", "mask": "<mask>", "cls": "<s>", "sep": "</s>"},
    "<s> $A </s>",
    "<s> $A </s> </s> $B </s>",
)
_T5 = _Special({"pad": "<pad>", "eos": "</s>", "unk": "<unk>"}, "$A </s>", "$A </s> $B </s>")
_GPT = _Special(
    {"bos": "<|endoftext|>", "eos": "<|endoftext|>", "pad": "<|endoftext|>", "unk": "<|endoftext|>"},
    None,
    None,
)

# The config field for the token of a role; it is set only where a config has the field.
_CONFIG_FIELDS: Mapping[str, str] = {role: f"{role}_token_id" for role in ("bos", "eos", "pad", "sep", "cls", "mask")}

# The part of a config that describes text, in models that also read images.
_TEXT_PARTS = ("text_config", "decoder")


class Trained(NamedTuple):
    """A trained tokenizer: its size, and the id of the token in each role."""

    size: int
    ids: Mapping[str, int]

    def config_for(self, defaults: Any, asked: Mapping[str, Any]) -> dict[str, Any]:
        """The requested config, with the fields that must agree with the tokenizer, in its text part if it has one.

        The vocabulary keeps its size unless the tokenizer needs more, because it makes GPT-2 a model of 124 million
        parameters. Ids that the tokenizer lacks decode to nothing.
        """
        part = next((name for name in _TEXT_PARTS if hasattr(defaults, name)), None)
        if part is not None:
            inner = asked.get(part) or {}
            return {**asked, part: {**inner, **self.config_for(getattr(defaults, part), inner)}}
        fields = {field: self.ids[role] for role, field in _CONFIG_FIELDS.items() if role in self.ids}
        # Decoders of an encoder-decoder start with padding (T5) or with the end token (BART); both stay so.
        if getattr(defaults, "is_encoder_decoder", False):
            starts_with_pad = getattr(defaults, "decoder_start_token_id", None) in {None, 0}
            fields["decoder_start_token_id"] = self.ids["pad" if starts_with_pad else "eos"]
        size = max(self.size, asked.get("vocab_size") or getattr(defaults, "vocab_size", None) or 0)
        known = {name: value for name, value in fields.items() if hasattr(defaults, name)}
        return {**asked, **known, "vocab_size": size}


def train_tokenizer(architecture: str, text: Path, vocabulary: int, destination: Path) -> Trained:
    """Train on every file below `text` and write a fast tokenizer to `destination`.

    Errors: CheckFailed OBE51 if the vocabulary is smaller than the alphabet of bytes, or there is no text.
    """
    from transformers import PreTrainedTokenizerFast

    special = _special_of(architecture)
    tokens = list(dict.fromkeys(special.tokens.values()))
    if vocabulary < _BYTES + len(tokens):
        raise CheckFailed(
            "OBE51",
            f"a tokenizer of {vocabulary} tokens cannot encode every byte: expected {_BYTES + len(tokens)} or more",
        )
    backend = _train(text, tokens, vocabulary)
    _set_template(backend, special)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_input_names=_inputs_of(architecture),
        **{f"{role}_token": token for role, token in special.tokens.items()},
    )
    tokenizer.save_pretrained(destination)
    _name_for_all(destination / "tokenizer_config.json")
    ids = {role: backend.token_to_id(token) for role, token in special.tokens.items()}
    return Trained(backend.get_vocab_size(), ids)


def _name_for_all(path: Path) -> None:
    """Write the name of the class that every transformers knows: 5 writes a new name, and still reads this one."""
    config = json.loads(path.read_text(encoding="utf-8"))
    if config["tokenizer_class"] != _CLASS:
        path.write_text(json.dumps({**config, "tokenizer_class": _CLASS}, indent=2) + "\n", encoding="utf-8")


def _inputs_of(architecture: str) -> list[str]:
    """The outputs of a tokenizer of the family; type ids would be an error for a model without them."""
    inputs = ["input_ids", "attention_mask"]
    if architecture == "siglip":  # trained on padding
        return inputs[:1]
    return [inputs[0], "token_type_ids", inputs[1]] if architecture in _TYPED else inputs


def _train(text: Path, tokens: list[str], vocabulary: int) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    files = [str(text / name) for name in files_below(text)]
    if not files:
        raise CheckFailed("OBE51", "there is no text to train the tokenizer on")
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=tokens,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train(files, trainer)
    return backend


def _set_template(backend: Any, special: _Special) -> None:
    from tokenizers import processors

    if special.template is not None:
        backend.post_processor = processors.TemplateProcessing(
            single=special.template,
            pair=special.pair,
            special_tokens=[(t, backend.token_to_id(t)) for t in dict.fromkeys(special.tokens.values())],
        )


def _special_of(architecture: str) -> _Special:
    if architecture in _BERT_LIKE:
        return _BERT
    if architecture in _ROBERTA_LIKE:
        return _ROBERTA
    return _T5 if architecture in _T5_LIKE else _GPT
