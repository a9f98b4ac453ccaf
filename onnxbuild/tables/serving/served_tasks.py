"""The tasks that `onnxbuild serve` has addresses for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

OfTask = Literal["embed", "classify", "tag"]

# Of models with one pass: what they are asked. A classifier with one label scores pairs, too.
ENCODERS: Mapping[str, tuple[OfTask, ...]] = {
    "feature-extraction": ("embed",),
    "sentence-similarity": ("embed",),
    "text-classification": ("classify",),
    "token-classification": ("tag",),
}
# Of models that continue a prompt.
DECODERS = ("text-generation-with-past",)
