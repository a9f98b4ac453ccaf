"""The models of two halves, and the classes of Transformers.js that load one half from a file of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

Halves = Literal["beside", "only"]


class Half(Struct, frozen=True, kw_only=True):
    """One half: its file, the class that loads it, and the output that the class promises.

    `of`: the output of the whole graph that has the same vector, divided by its length.
    """

    file: str
    javascript_class: str
    reads: Literal["text", "image"]
    of: str
    gives: str
    padding: str = "true"  # of its texts, in JavaScript


class _Text(Half, frozen=True, kw_only=True):
    file: str = "text_model.onnx"
    reads: Literal["text", "image"] = "text"
    of: str = "text_embeds"


class _Vision(Half, frozen=True, kw_only=True):
    file: str = "vision_model.onnx"
    reads: Literal["text", "image"] = "image"
    of: str = "image_embeds"


# Model type → its halves, from `models/*/modeling_*.js` of versions 3.8.1 and 4.3.1. The library also splits jina_clip,
# which transformers has no code for, and clap, whose task onnxbuild does not have.
_HALVES: Mapping[str, tuple[Half, ...]] = {
    "clip": (
        _Text(javascript_class="CLIPTextModelWithProjection", gives="text_embeds"),
        _Vision(javascript_class="CLIPVisionModelWithProjection", gives="image_embeds"),
    ),
    "siglip": (
        _Text(javascript_class="SiglipTextModel", gives="pooler_output", padding="'max_length'"),
        _Vision(javascript_class="SiglipVisionModel", gives="pooler_output"),
    ),
}

HALVED_TYPES = tuple(_HALVES)


def halves_of(model_type: str | None) -> tuple[Half, ...]:
    """The halves of a model type; none if the library loads it as a whole only."""
    return _HALVES.get(model_type or "", ())
