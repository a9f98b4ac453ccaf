"""What the source of a model says about itself: the metadata of its own model card.

It is text of somebody else. Only what has the form of its field is taken, and nothing is made up: a source that states
no license gives a card without one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from msgspec import Struct

from onnxbuild.diagnostics import Diagnostic, DiagnosticError
from onnxbuild.manifest.reading.yaml_reader import read_document
from onnxbuild.planning.origins.source_license import license_name
from onnxbuild.publishing.card_license import parts_of_card, stated_in, text_of_card

README = "README.md"
MOST_BYTES = 4 << 20

_LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[A-Za-z0-9]{2,8})*|multilingual|code")
_TAG = re.compile(r"[A-Za-z0-9][\w.:+-]{0,59}")  # a pipeline_tag is one, too
_DATASET = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[\w.-]+)?")
_NAME = re.compile(r"[\w .,()+-]{1,80}")
_MOST = 60  # names in a list

# Tags that name the files of a repository, which the files of a build are not.
_OF_FILES = frozenset({
    "onnx", "pytorch", "tf", "tensorflow", "jax", "flax", "rust", "safetensors", "openvino", "gguf", "coreml", "tflite",
    "model_hub_mixin", "pytorch_model_hub_mixin", "transformers.js", "sentence-transformers", "transformers", "timm",
})  # fmt: skip


class SourceCard(Struct, frozen=True, kw_only=True):
    """The part of a source's card that its ONNX versions share."""

    license: str | None = None
    license_name: str | None = None
    license_link: str | None = None
    languages: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    pipeline_tag: str | None = None


def source_card(readme: bytes | None, config: Any = None) -> SourceCard:
    """What a README.md states, and the license of a config.json if the README has none."""
    head, _ = parts_of_card(text_of_card(readme or b""))
    stated = plain_metadata(head)
    in_config = config.get("license") if isinstance(config, dict) else None
    in_lines = list(stated_in(head, "license"))  # of metadata that are damaged
    license_ = license_name(stated.get("license") if stated else in_lines) or license_name(in_config)
    return SourceCard(
        license=license_,
        license_name=_one(stated.get("license_name"), _NAME) if license_ == "other" else None,
        license_link=_address(stated.get("license_link")) if license_ == "other" else None,
        languages=tuple(_several(stated.get("language"), _LANGUAGE)),
        tags=tuple(tag for tag in _several(stated.get("tags"), _TAG) if tag.lower() not in _OF_FILES),
        datasets=tuple(_several(stated.get("datasets"), _DATASET)),
        pipeline_tag=_one(stated.get("pipeline_tag"), _TAG),
    )


def plain_metadata(text: str) -> dict[str, Any]:
    """The lines of YAML at the beginning of a card as plain values; nothing if they are damaged."""
    value: dict[str, Any] = (
        msgspec.json.decode(msgspec.json.encode(_read(text.encode("utf-8", "replace")))) if text else {}
    )
    return value


def _read(text: bytes) -> dict[str, Any]:
    faults: list[Diagnostic] = []
    try:
        return dict(read_document(text, README, faults))
    except (DiagnosticError, ValueError):
        return {}


def _one(value: Any, form: re.Pattern[str]) -> str | None:
    """A text of this form, also as the only one of a list."""
    value = next(iter(value), None) if isinstance(value, list) and len(value) == 1 else value
    return value if isinstance(value, str) and form.fullmatch(value) else None


def _several(value: Any, form: re.Pattern[str]) -> Iterator[str]:
    """The texts of this form, each once, whether one or a list of them was written."""
    values: Iterable[Any] = value[:_MOST] if isinstance(value, list) else (value,)
    yield from dict.fromkeys(one for one in values if isinstance(one, str) and form.fullmatch(one))


def _address(value: Any) -> str | None:
    """A license's link: an address, or the name of a file."""
    is_safe = isinstance(value, str) and re.fullmatch(r"https?://[\w./%#?=&+-]{1,300}|[\w.-]{1,80}", value)
    return str(value) if is_safe else None
