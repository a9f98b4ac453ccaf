"""Stages: the ways in which the graphs of a model are run. A folder whose graphs are not one model is found by them.

A stage is one graph used in one way: `forward` (one pass), `prefill` and `decode` (a decoder with past, without and
with it), `encoder`, `decoder`, `decoder_step` and, for a merged decoder file, `merged` and `merged_step`. A model that
cuts objects out of pictures has `vision_encoder` and `mask_decoder`, which reads points beside what the encoder saw.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import PurePosixPath

Stages = Mapping[str, bool | None]

# File name → its stages, with what `use_cache_branch` is fed for each, None if the graph has no such input.
_BY_NAME: Mapping[str, Stages] = {
    "encoder_model.onnx": {"encoder": None},
    "decoder_model.onnx": {"decoder": None},
    "decoder_with_past_model.onnx": {"decoder_step": None},
    "decoder_model_merged.onnx": {"merged": False, "merged_step": True},
}

# The same for the parts of a model such as SAM. Other models have files of these names too, beside further ones.
_OF_PICTURES: Mapping[str, Stages] = {
    "vision_encoder.onnx": {"vision_encoder": None},
    "prompt_encoder_mask_decoder.onnx": {"mask_decoder": None},
}

_STAGES_OF_PICTURES = frozenset(stage for stages in _OF_PICTURES.values() for stage in stages)

# The stages that are timed: the pass over the input, and one step of the decoder.
TIMED = ("forward", "prefill", "decode", "encoder", "decoder_step", "merged_step", "vision_encoder", "mask_decoder")

# Stage → those whose outputs it reads. Without them it cannot be run.
_READS: Mapping[str, tuple[str, ...]] = {
    "decoder": ("encoder",),
    "decoder_step": ("encoder", "decoder"),
    "merged": ("encoder",),
    "merged_step": ("encoder", "merged"),
    "mask_decoder": ("vision_encoder",),
}


def stages_of(name: str, inputs: Collection[str]) -> Stages:
    """The stages of the graph in the file `name`, which takes these inputs."""
    # Language models for browsers also use the name of an encoder-decoder's part, `decoder_model_merged.onnx`.
    if name in _BY_NAME and (name == "encoder_model.onnx" or any("encoder" in i for i in inputs)):
        return _BY_NAME[name]
    if name in _OF_PICTURES and "input_ids" not in inputs:
        return _OF_PICTURES[name]
    if not any(i.startswith("past_key_values") for i in inputs):
        return {"forward": None}
    merged = "use_cache_branch" in inputs
    return {"prefill": False if merged else None, "decode": True if merged else None}


def why_not_one_model(graphs: Mapping[str, Collection[str]]) -> str | None:
    """Why the graphs of a folder (their inputs, by POSIX path) are not the parts of one model; None if they are.

    Each graph must have a stage of its own that can be run: any other would be delivered without having been compared.
    """
    return several(graphs) or incomplete(graphs)


def several(graphs: Mapping[str, Collection[str]]) -> str | None:
    """Which two graphs belong to different models: they have the same stage, or are in two folders."""
    by_stage: dict[str, str] = {}
    for path in sorted(graphs):
        for stage in _stages_at(path, graphs):
            if stage in by_stage:
                return f"`{by_stage[stage]}` and `{path}` are two models: both are run as `{stage}`"
            by_stage[stage] = path
    other = next((path for stage, path in by_stage.items() if stage not in _STAGES_OF_PICTURES), None)
    if "vision_encoder" in by_stage and other is not None:
        return f"`{by_stage['vision_encoder']}` and `{other}` are two models"
    return _in_two_folders(graphs)


def incomplete(graphs: Mapping[str, Collection[str]]) -> str | None:
    """Which graph cannot be run, because it reads what another one computes that is missing."""
    by_stage = {stage: path for path in graphs for stage in _stages_at(path, graphs)}
    for stage, path in by_stage.items():
        missing = next((one for one in _READS.get(stage, ()) if one not in by_stage), None)
        if missing is not None:
            return f"`{path}` reads what the graph of the {missing} computes, and there is none"
    return None


def _stages_at(path: str, graphs: Mapping[str, Collection[str]]) -> Stages:
    return stages_of(PurePosixPath(path).name, graphs[path])


def ambiguous_names(paths: Collection[str]) -> tuple[str, ...]:
    """The graphs of which only one can be meant, where no more than their names is known; empty if all may be."""
    parts = _OF_PICTURES if all(PurePosixPath(path).name in _OF_PICTURES for path in paths) else _BY_NAME
    whole = sorted(path for path in paths if PurePosixPath(path).name not in parts)
    return tuple(whole) if len(whole) > 1 else tuple(sorted(paths)) if _in_two_folders(paths) else ()


def _in_two_folders(paths: Collection[str]) -> str | None:
    first = min(paths, default="")
    other = next((one for one in sorted(paths) if PurePosixPath(one).parent != PurePosixPath(first).parent), None)
    return f"`{first}` and `{other}` are in two folders, and loaders read one" if other is not None else None
