"""Pictures of another size than the config's, for graphs that leave the size free."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import structs

from onnxbuild.workers.engines.engine import InputSpec
from onnxbuild.workers.inputs.media import picture_size, vision_part
from onnxbuild.workers.inputs.sample_source import Source
from onnxbuild.workers.inputs.samples import Sample, shaped

PICTURE = "pixel_values"
_STEP = 32  # how much the sizes of convolutional models divide by
_LABEL = "picture"


def frees_size(inputs: Mapping[str, InputSpec]) -> bool:
    """Whether a graph takes pictures and names neither their height nor their width."""
    spec = inputs.get(PICTURE)
    return spec is not None and not any(isinstance(size, int) for size in spec.shape[-2:])


def one_picture(source: Source) -> Sample:
    """One picture of the source's size, beside as few tokens as a text may have."""
    return shaped(source, 1, min(8, source.positions - 1))


def other_picture(source: Source) -> Sample:
    """One picture that is a patch higher and two patches wider than the config's."""
    patch = vision_part(source.config).get("patch_size")
    step = patch if isinstance(patch, int) else _STEP
    height, width = picture_size(source)
    size = (height + step, width + 2 * step)
    sample = one_picture(structs.replace(source, picture_size=size))
    return structs.replace(sample, label=f"{_LABEL} {size[0]}×{size[1]}")


def is_other_picture(sample: Sample) -> bool:
    """Whether `other_picture` made the sample."""
    return sample.label.startswith(_LABEL)
