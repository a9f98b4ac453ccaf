"""The tokenizer of a model folder: through transformers, or only from tokenizer.json if that gives the same ids."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from onnxbuild.protocol import CheckFailed
from onnxbuild.workers.failures.exceptions import explain_exception
from onnxbuild.workers.folders.sentence_folders import starts_static
from onnxbuild.workers.inputs.word_tokenizer import with_places

_MOST_TEXT = 240
_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json")

_ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")

# Classes of transformers 4 that use tokenizer.json unchanged, with the special tokens that they assume.
_BERT = {role: f"[{role.removesuffix('_token').upper()}]" for role in _ROLES[2:]}
_PLAIN_CLASSES: Mapping[str, Mapping[str, str]] = {
    "PreTrainedTokenizerFast": {},
    "BertTokenizer": _BERT,
    "BertTokenizerFast": _BERT,
}
_CHECKED_MAJOR = "4"  # transformers 5 constructs some of these classes differently

_FLAGS = ("lstrip", "rstrip", "normalized", "single_word", "special")


def load_tokenizer(folder: Path, *, trusts_code: bool = False) -> Any:
    """The folder's tokenizer, or None if it has none; code of the checkpoint runs only where it is trusted.

    Errors: CheckFailed OBE130 if it has files of one that transformers cannot load, or a code with a known cause.
    """
    if not any((folder / name).is_file() for name in _FILES):
        return None
    if starts_static(folder):
        return bare_tokenizer(folder)
    from transformers import AutoTokenizer

    try:
        loaded = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=trusts_code)
    except Exception as error:
        if explain_exception(error, "").code != "OBE99":
            raise
        found = ", ".join(f"`{name}`" for name in _FILES if (folder / name).is_file())
        cause = " ".join(f"{type(error).__name__}: {error}".split())[:_MOST_TEXT]
        hint = "fetch the checkpoint again with all files of its tokenizer, or remove those that are left"
        message = f"the tokenizer of the model cannot be loaded from {found}"
        raise CheckFailed("OBE130", message, notes=[("cause", cause), ("hint", hint)]) from error
    return with_places(loaded)


def load_light_tokenizer(folder: Path, *, trusts_code: bool = False) -> Any:
    """The folder's tokenizer without transformers where that gives the same ids, else through transformers."""
    return (None if starts_static(folder) else plain_tokenizer(folder)) or load_tokenizer(
        folder, trusts_code=trusts_code
    )


def bare_tokenizer(folder: Path) -> PlainTokenizer:
    """The tokenizer of a StaticEmbedding: tokenizer.json alone, which its library takes without special tokens."""
    from tokenizers import Tokenizer, processors

    backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
    backend.post_processor = processors.Sequence([])
    return PlainTokenizer(backend, {}, (), "right")


class PlainTokenizer:
    """The part of a tokenizer of transformers that samples need, on the library `tokenizers` alone."""

    def __init__(self, backend: Any, special: Mapping[str, str], additional: tuple[str, ...], side: str) -> None:
        """Take a loaded tokenizer; truncation cuts on `side`."""
        self._backend = backend
        self._side = side
        self.model_max_length = sys.maxsize  # it has no limit of its own
        tokens = dict.fromkeys((*special.values(), *additional))
        self.all_special_ids = [backend.token_to_id(token) for token in tokens]
        pad = special.get("pad_token")
        self.pad_token_id = backend.token_to_id(pad) if pad is not None else None
        backend.no_padding()

    def __call__(
        self, text: str, *, truncation: bool = False, max_length: int = 0, verbose: bool = True
    ) -> dict[str, list[int]]:
        """The `input_ids` of a text with special tokens; `verbose` is accepted for compatibility with transformers."""
        del verbose
        if truncation:
            self._backend.enable_truncation(max_length, direction=self._side)
        else:
            self._backend.no_truncation()
        return {"input_ids": self._backend.encode(text).ids}


def plain_tokenizer(folder: Path) -> PlainTokenizer | None:
    """A tokenizer from tokenizer.json alone, or None if transformers would change anything in it.

    A test compares the ids with those of transformers.
    """
    names = ("tokenizer.json", "tokenizer_config.json")
    if not all((folder / name).is_file() for name in names) or (folder / "added_tokens.json").is_file():
        return None
    content, config = (json.loads((folder / name).read_text(encoding="utf-8")) for name in names)
    special = _special_tokens(folder, config)
    additional = tuple(_text(token) for token in config.get("additional_special_tokens") or ())
    if special is None or not _is_taken_as_it_is(content, config, {*special.values(), *additional}):
        return None
    from tokenizers import Tokenizer

    backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
    side = config.get("truncation_side") or (backend.truncation or {}).get("direction", "right")
    return PlainTokenizer(backend, special, additional, side)


def _special_tokens(folder: Path, config: Mapping[str, Any]) -> dict[str, str] | None:
    """The special tokens by role, None for a class that is not in `_PLAIN_CLASSES`.

    special_tokens_map.json counts only beside configs of older versions, which have no `added_tokens_decoder`.
    """
    defaults = _PLAIN_CLASSES.get(str(config.get("tokenizer_class")))
    if defaults is None or _major("transformers") not in {_CHECKED_MAJOR, None}:
        return None
    path = folder / "special_tokens_map.json"
    old = path.is_file() and "added_tokens_decoder" not in config
    mapped = json.loads(path.read_text(encoding="utf-8")) if old else {}
    if mapped.get("additional_special_tokens"):
        return None
    named = {**defaults, **config, **mapped}
    return {role: _text(named[role]) for role in _ROLES if named.get(role) is not None}


def _is_taken_as_it_is(content: Mapping[str, Any], config: Mapping[str, Any], special: set[str]) -> bool:
    """Whether transformers neither adds a token to the content of tokenizer.json nor changes one of its parts."""
    return not any(_changes(content, config, special))


def _changes(content: Mapping[str, Any], config: Mapping[str, Any], special: set[str]) -> Iterator[bool]:
    added = {token["content"]: token for token in content.get("added_tokens") or ()}
    yield any(config.get(key) for key in ("auto_map", "extra_special_tokens", "split_special_tokens", "from_slow"))
    yield not special <= added.keys()
    for token in (config.get("added_tokens_decoder") or {}).values():
        stored = added.get(token["content"])
        yield stored is None or any(token.get(flag, False) != stored[flag] for flag in _FLAGS)
    wanted = config.get("add_prefix_space", False)
    yield (content.get("pre_tokenizer") or {}).get("add_prefix_space", wanted) != wanted
    yield bool(content.get("padding")) and config.get("pad_token") is None
    if str(config["tokenizer_class"]).startswith("Bert"):
        yield _changes_normalizer(content.get("normalizer") or {}, config)


def _changes_normalizer(normalizer: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Whether BertTokenizerFast sets other options than those of tokenizer.json."""
    wanted = {
        "lowercase": config.get("do_lower_case", True),
        "strip_accents": config.get("strip_accents"),
        "handle_chinese_chars": config.get("tokenize_chinese_chars", True),
    }
    return any(normalizer.get(name, value) != value for name, value in wanted.items())


def _text(token: Any) -> str:
    """A token as configs write it: its text, or an object with it."""
    return str(token["content"] if isinstance(token, Mapping) else token)


def _major(package: str) -> str | None:
    try:
        return metadata.version(package).partition(".")[0]
    except metadata.PackageNotFoundError:
        return None
