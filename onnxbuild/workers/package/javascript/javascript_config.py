"""What Transformers.js reads beside the graphs of a package: configs, tokenizer and processor."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from onnxbuild.protocol import CheckFailed
from onnxbuild.workers.folders.model_files import copy_model_file

CONFIG = "config.json"
_SETTINGS = "transformers.js_config"
_TOKENIZER_CONFIG = "tokenizer_config.json"
_TEMPLATE = "chat_template.jinja"

# What the library reads. It makes no tokenizer of vocab.txt or a model of sentencepiece, which other loaders may want.
_READ = (
    CONFIG,
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    _TOKENIZER_CONFIG,
    "special_tokens_map.json",
    _TEMPLATE,
)
# Any of these is a tokenizer that has to be converted, where there is no tokenizer.json.
_SLOW = ("vocab.txt", "vocab.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "source.spm")


def write_files(folders: Iterable[Path], destination: Path) -> None:
    """Copy what the library reads from the first of the folders that has it, and convert a slow tokenizer.

    Exporters leave files out (optimum all of a processor where Pillow is missing), so that the checkpoint is the last
    of the folders. Errors: CheckFailed OBE194 for a tokenizer that has no fast form.
    """
    known = list(folders)
    for name in _READ:
        source = next((folder / name for folder in known if (folder / name).is_file()), None)
        if source is not None:
            copy_model_file(source, destination / name)
    if not (destination / "tokenizer.json").is_file():
        slow = next((folder for folder in reversed(known) if any((folder / name).is_file() for name in _SLOW)), None)
        if slow is not None:
            _convert_tokenizer(slow, destination)
    inline_chat_template(destination)


def _convert_tokenizer(source: Path, destination: Path) -> None:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(source, use_fast=True)
    except Exception as error:
        raise _not_fast(f"{type(error).__name__}: {error}") from error
    if not tokenizer.is_fast:
        raise _not_fast(f"transformers has no fast form of {type(tokenizer).__name__}")
    tokenizer.save_pretrained(destination)
    for name in _SLOW:
        (destination / name).unlink(missing_ok=True)


def _not_fast(why: str) -> CheckFailed:
    return CheckFailed(
        "OBE194",
        "Transformers.js reads `tokenizer.json`, and the tokenizer cannot be converted to it",
        notes=[("because", why), ("hint", "add a `tokenizer.json` to the checkpoint")],
    )


def inline_chat_template(folder: Path) -> None:
    """Copy the template of a chat into tokenizer_config.json: the library's tokenizers do not read its own file."""
    template, path = folder / _TEMPLATE, folder / _TOKENIZER_CONFIG
    if template.is_file() and path.is_file():
        config = json.loads(path.read_text(encoding="utf-8"))
        if "chat_template" not in config:
            write_json(path, {**config, "chat_template": template.read_text(encoding="utf-8")})


def write_settings(
    folder: Path, chunks: Mapping[str, int], half_pasts: Iterable[str], default_dtype: str | None
) -> dict[str, Any]:
    """Tell the library in config.json what it cannot find out by itself; returns that.

    The number of chunks is by exact file name: a base name, such as `model`, would hold for every dtype. Versions up to
    4.1 read the type of the past from `kv_cache_dtype`, and later ones from the graph.
    """
    external = {name: count for name, count in chunks.items() if count}
    halves = dict.fromkeys(sorted(half_pasts), "float16")
    settings = {
        **({"dtype": default_dtype} if default_dtype else {}),
        **({"use_external_data_format": external} if external else {}),
        **({"kv_cache_dtype": halves} if halves else {}),
    }
    path = folder / CONFIG
    config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    merged = {**(config.get(_SETTINGS) or {}), **settings}
    if merged:
        write_json(path, {**config, _SETTINGS: merged})
    return settings


def write_json(path: Path, content: Any) -> None:
    """Write JSON as transformers does: two spaces, and a line break at the end."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
