"""Which model types are built, each for its main task: the tables of the exporters, read in a fixed order of tasks."""

from __future__ import annotations

from typing import NamedTuple

from onnxbuild.steps.exporters import EXPORTERS
from onnxbuild.tables.exporter_types import OPTIMUM, TRANSFORMERS

# The main task of a type is the first of these that it has.
ORDER = (
    "text2text-generation-with-past",
    "automatic-speech-recognition-with-past",
    "image-to-text-with-past",
    "zero-shot-image-classification",
    "fill-mask",
    "text-generation-with-past",
    "text-generation",
    "automatic-speech-recognition",
    "audio-classification",
    "image-classification",
    "text-classification",
    "token-classification",
    "question-answering",
    "feature-extraction",
)
# Types in optimum's registry whose only tasks (object and keypoint detection, text to audio) onnxbuild does not have.
WITHOUT_TASK = ("d_fine", "musicgen", "rt_detr", "rt_detr_v2", "speecht5", "vitpose", "vits")
# Names that optimum gives parts of pipelines of diffusers: no config.json has them as its `model_type`.
PARTS = ("siglip-text", "siglip-text-with-projection")
OUTSIDE = (
    f"{', '.join(WITHOUT_TASK)} are in optimum's registry only for tasks that onnxbuild does not have "
    f"(detection of objects and of keypoints, text to audio), so they are not in its list. "
    f"Nor are {' and '.join(PARTS)}: optimum names parts of diffusers' pipelines so, and no config.json has such a "
    "model type."
)
# Types of transformers 5 that are no model which an ONNX file could stand for here, by reason.
NOT_MEANT = {
    "its auto classes write its checkpoint as one of another type": (
        "emu3 gpt-sw3 llama4 mllama musicgen musicgen_melody qwen3_5 qwen3_5_moe qwen4_exp"
    ),
    "it is a draft, which reads the hidden states of another model": "gemma4_assistant gemma4_unified_assistant",
    "its model needs a package that transformers does not install (natten, detectron2, timm)": (
        "dinat gemma3n layoutlmv2 timm_wrapper"
    ),
}
NOT_LISTED = " ".join(f"Not listed: {', '.join(names.split())} ({reason})." for reason, names in NOT_MEANT.items())


class Kind(NamedTuple):
    """A model type, its main task, and the exporter that makes it."""

    model_type: str
    task: str
    exporter: str


def kinds(exporter: str) -> list[Kind]:
    """The list of an exporter, sorted by type.

    That of transformers has the types with a head that optimum does not know: the others come from optimum's list.
    """
    optimum = {name: Kind(name, task, "optimum") for name, task in _main(OPTIMUM).items() if name not in PARTS}
    if exporter == "optimum":
        return sorted(optimum.values())
    left_out = {*optimum, *" ".join(NOT_MEANT.values()).split()}
    found = (Kind(name, task, exporter) for name, task in _main(TRANSFORMERS).items() if name not in left_out)
    return sorted(
        Kind(kind.model_type, _offered(kind), exporter) for kind in found if kind.task != "feature-extraction"
    )


def _offered(kind: Kind) -> str:
    """The main task, or that without a past where lint refuses it with one."""
    known, without = EXPORTERS[kind.exporter].knows, kind.task.removesuffix("-with-past")
    return without if not known(kind.model_type, kind.task) and known(kind.model_type, without) else kind.task


def _main(table: dict[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for task in ORDER:
        for name in table.get(task, "").split():
            found.setdefault(name, task)
    return found
