"""Which files of a repository or folder make up a model: weights in one format, configs and tokenizer.

A Hub repository often holds the same weights three to six times (PyTorch, safetensors, TensorFlow, Flax, ONNX,
OpenVINO). What the export does not read must neither be downloaded nor be part of a key.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase, translate
from pathlib import PurePosixPath

# Weights, the preferred format first: safetensors loads without unpickling, and transformers prefers it too.
WEIGHT_FORMATS: tuple[tuple[str, ...], ...] = (
    ("model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin"),
)

# What transformers, tokenizers and sentence-transformers read besides the weights, at the top of a checkpoint.
COMPANIONS: tuple[str, ...] = (
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.json",
    "chat_template.jinja",
    "normalizer.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "*.model",  # sentencepiece: tokenizer.model, spiece.model, sentencepiece.bpe.model
    "sentencepiece.bpe.model",
    "modules.json",
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
    "sentence_*_config.json",
)

# The checkpoint's own code, which runs only where a manifest allows it. If one of these exists, every .py file beside
# it belongs to the checkpoint, since they import each other. Otherwise a .py file has nothing to do with the model.
_CODE: tuple[str, ...] = (
    "configuration_*.py",
    "modeling_*.py",
    "tokenization_*.py",
    "processing_*.py",
    "image_processing_*.py",
    "feature_extraction_*.py",
    "custom_st.py",  # modules of sentence-transformers
)

# The folders of sentence-transformers modules: 1_Pooling, 2_Dense, 2_Normalize …
_MODULE_FOLDER = "[0-9]_*"
# The model itself, in what sentence-transformers wrote before version 2, and for a StaticEmbedding before version 5.
OLD_TRANSFORMER = "0_Transformer"
OLD_STATIC = "0_StaticEmbedding"
_OLD_FOLDERS = (OLD_TRANSFORMER, OLD_STATIC)
# Where config.json can be.
CONFIGS = ("config.json", f"{OLD_TRANSFORMER}/config.json")
_MODULE_FILES: tuple[str, ...] = ("config.json", "model.safetensors", "pytorch_model.bin")

# Any of these makes inputs of text, images or audio for the model.
_PROCESSORS: tuple[str, ...] = (
    "tokenizer.json", "tokenizer_config.json", "vocab.json", "vocab.txt", "*.model", "preprocessor_config.json",
    "processor_config.json",
)  # fmt: skip

ONNX_FILES: tuple[str, ...] = ("*.onnx", "*.onnx_data", "*.onnx_data_*", "*.onnx.data", "*.data")


def select_checkpoint(names: Iterable[str]) -> tuple[str, ...]:
    """The names (POSIX paths below the root) that make up a checkpoint, sorted; empty without weights."""
    known = sorted(names)
    weights = next((names for names in (_matching(known, patterns) for patterns in WEIGHT_FORMATS) if names), [])
    return tuple(sorted({*weights, *_companions(known)})) if weights else _old_sentence_files(known)


def _old_sentence_files(known: list[str]) -> tuple[str, ...]:
    """The files of a sentence-transformer whose model is in a folder of its own; empty for anything else."""
    for folder in _OLD_FOLDERS if "modules.json" in known else ():
        inner = [name.removeprefix(f"{folder}/") for name in known if name.startswith(f"{folder}/")]
        chosen = select_checkpoint(inner)
        if chosen:
            return tuple(sorted({*_companions(known), *(f"{folder}/{name}" for name in chosen)}))
    return ()


def old_folder(names: Collection[str]) -> str | None:
    """The folder that the files of a checkpoint have the model in, if it is one of its own."""
    if "config.json" in names:
        return None
    if f"{OLD_TRANSFORMER}/config.json" in names:
        return OLD_TRANSFORMER
    return OLD_STATIC if "modules.json" in names and f"{OLD_STATIC}/tokenizer.json" in names else None


def select_onnx(names: Iterable[str]) -> tuple[str, ...]:
    """The names that make up an ONNX model: graphs and external data at the top or in `onnx/`, configs, tokenizer."""
    known = sorted(names)
    graphs = [
        name for name in known if _folder(name) in {"", "onnx"} and _is_like(PurePosixPath(name).name, ONNX_FILES)
    ]
    has_graph = any(name.endswith(".onnx") for name in graphs)
    return tuple(sorted({*graphs, *_companions(known)})) if has_graph else ()


def is_onnx_part(name: str) -> bool:
    """Whether a file is a graph, or has a name that exporters give to the weights of one."""
    return _is_like(PurePosixPath(name).name, ONNX_FILES)


def has_processor(names: Iterable[str]) -> bool:
    """Whether a checkpoint has a tokenizer, or the processor of images or audio."""
    return any(_is_like(_without_old_folder(name), _PROCESSORS) for name in names)


def _without_old_folder(name: str) -> str:
    folder, _, inner = name.partition("/")
    return inner if folder in _OLD_FOLDERS else name


def _is_companion(name: str) -> bool:
    """Whether a loader may read this file besides the weights or graphs (a tokenizer, a config, a pooling module)."""
    path = PurePosixPath(name)
    if len(path.parts) == 1:
        return _is_like(path.name, (*COMPANIONS, *_CODE))
    return _is_module_file(path)


def companions(names: Iterable[str]) -> list[str]:
    """What a loader may read besides weights or graphs, including code and all that it may import."""
    known = sorted(names)
    has_code = bool(_matching(known, _CODE))
    beside = set(_matching(known, ("*.py",))) if has_code else set()
    return [name for name in known if _is_companion(name) or name in beside]


def _companions(known: list[str]) -> list[str]:
    """Companions, with the weights of a Dense module in one format only."""
    names = companions(known)
    return [
        name
        for name in names
        if not (name.endswith("/pytorch_model.bin") and name.replace("pytorch_model.bin", "model.safetensors") in names)
    ]


def _matching(known: list[str], patterns: tuple[str, ...]) -> list[str]:
    return [name for name in known if _folder(name) == "" and _is_like(name, patterns)]


def _is_module_file(path: PurePosixPath) -> bool:
    folder = path.parent.as_posix()
    return "/" not in folder and fnmatchcase(folder, _MODULE_FOLDER) and path.name in _MODULE_FILES


def _is_like(name: str, patterns: tuple[str, ...]) -> bool:
    return _matcher(patterns).match(name) is not None


@functools.cache
def _matcher(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """One expression for all patterns: matching each by itself was a fifth of the time of a lint."""
    return re.compile("|".join(translate(pattern) for pattern in patterns))


def _folder(name: str) -> str:
    parent = PurePosixPath(name).parent.as_posix()
    return "" if parent == "." else parent
