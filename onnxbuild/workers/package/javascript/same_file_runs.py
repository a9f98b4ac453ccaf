"""Python's ONNX Runtime on the files of a package, fed what a client was fed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from onnxbuild.tables.publishing.javascript_dtypes import file_name
from onnxbuild.workers.engines.compiled.stage_feeds import NUMPY_TYPES

Arrays = Mapping[str, np.ndarray[Any, Any]]
_SEES, _CUTS_OUT = "vision_encoder.onnx", "prompt_encoder_mask_decoder.onnx"  # the two graphs of SAM


class SameFiles:
    """The sessions of one dtype of a package."""

    def __init__(self, folder: Path, dtype: str, threads: int) -> None:
        """Open the graphs that exist: a model, its halves, an encoder and its decoder, or what cuts out objects."""
        names = (
            "model.onnx",
            "encoder_model.onnx",
            "decoder_model_merged.onnx",
            "text_model.onnx",
            "vision_model.onnx",
            _SEES,
            _CUTS_OUT,
        )
        paths = {name: folder / "onnx" / file_name(name, dtype) for name in names}
        self._sessions = {name: _open(path, threads) for name, path in paths.items() if path.is_file()}

    def outputs(self, inputs: Arrays, graph: str = "model.onnx") -> Arrays:
        """The outputs of a model of one graph, of a half, or of the decoder that cuts an object out of a picture."""
        if _CUTS_OUT in self._sessions:
            return _run(self._sessions[_CUTS_OUT], {**inputs, **_run(self._sessions[_SEES], inputs)})
        return _run(self._sessions[graph], inputs)

    def margins(self, inputs: Arrays, tokens: np.ndarray[Any, Any], given: int, suppressed: list[int]) -> list[float]:
        """For each token that a client chose: how far its logit is below the largest one, as a part of the largest.

        The graph reads the tokens as the client fed them: those `given` at once, and each later one with the past.
        """
        first = "decoder_model_merged.onnx"
        decoder = self._sessions.get(first) or self._sessions["model.onnx"]
        fixed = self._encoded(inputs) if "encoder_model.onnx" in self._sessions else {}
        past = _empty_past(decoder)
        ends = [*range(given, tokens.shape[1])]
        starts = [0, *ends[:-1]]
        margins = []
        for start, end in zip(starts, ends, strict=True):
            outputs = _run(decoder, {**fixed, **past, **_step(tokens, start, end)})
            margins.append(_margin(outputs["logits"][0, -1], int(tokens[0, end]), suppressed))
            past = _next_past(outputs, past)
        return margins

    def _encoded(self, inputs: Arrays) -> dict[str, np.ndarray[Any, Any]]:
        hidden = _run(self._sessions["encoder_model.onnx"], inputs)["last_hidden_state"]
        mask = inputs.get("attention_mask", np.ones(hidden.shape[:2], np.int64))
        return {"encoder_hidden_states": hidden, "encoder_attention_mask": mask}


def _open(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _run(session: onnxruntime.InferenceSession, arrays: Arrays) -> dict[str, Any]:
    """Run a graph on those of the arrays that it reads; type ids that the client adds by itself are zeros."""
    wanted = {one.name: one.type for one in session.get_inputs()}
    known = dict(arrays)
    if "token_type_ids" in wanted and "token_type_ids" not in known:
        known["token_type_ids"] = np.zeros_like(known["input_ids"])
    feeds = {name: known[name].astype(NUMPY_TYPES[kind], copy=False) for name, kind in wanted.items()}
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def _step(tokens: np.ndarray[Any, Any], start: int, end: int) -> dict[str, np.ndarray[Any, Any]]:
    return {
        "input_ids": tokens[:, start:end],
        "attention_mask": np.ones((1, end), np.int64),
        "position_ids": np.arange(start, end)[None],
        "use_cache_branch": np.array([start > 0]),
    }


def _empty_past(decoder: onnxruntime.InferenceSession) -> dict[str, np.ndarray[Any, Any]]:
    pasts = (one for one in decoder.get_inputs() if one.name.startswith("past_key_values"))
    return {one.name: np.zeros(_empty(one.shape), NUMPY_TYPES[one.type]) for one in pasts}


def _empty(shape: list[int | str]) -> tuple[int, ...]:
    """The shape of an empty past: one text, and no token yet."""
    batch, *others = shape
    return (batch if isinstance(batch, int) else 1, *(size if isinstance(size, int) else 0 for size in others))


def _next_past(outputs: Arrays, past: Arrays) -> dict[str, np.ndarray[Any, Any]]:
    """The past for the next token. What a decoder keeps of the encoder, it returns in its first step alone."""
    presents = {name: outputs[name.replace("past_key_values", "present")] for name in past}
    return {name: past[name] if _is_kept(name, past) else present for name, present in presents.items()}


def _is_kept(name: str, past: Arrays) -> bool:
    return ".encoder." in name and past[name].size > 0


def _margin(logits: np.ndarray[Any, Any], chosen: int, suppressed: list[int]) -> float:
    logits = logits.astype(np.float64)
    logits[suppressed] = -np.inf
    best = float(logits.max())
    return (best - float(logits[chosen])) / max(1e-3, abs(best))
