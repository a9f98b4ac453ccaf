"""Greedy decoding over the graphs of a folder with plain ONNX Runtime, beside PyTorch's `generate`.

The graph gets the tokens that PyTorch chose, so that the scores of each step are compared, and one difference does not
hide the rest.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sessions import session

STEPS = 6
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int64)": np.int64,
          "tensor(bool)": np.bool_, "tensor(int32)": np.int32}  # fmt: skip


_SAME = 1e-3  # of the largest score: PyTorch with its past and without it
# Whether the two agree, by checkpoint. PyTorch that rounds each factor by the range of the whole call has another range
# with a past, and may choose other tokens, so what the exact model has shown holds for it.
_AGREED: dict[str, bool] = {}


def reference(
    model: Any, feeds: Mapping[str, torch.Tensor], *, has_past: bool = True
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The tokens that PyTorch generates (with the prompt, if the decoder reads it), and the scores of each step.

    Where PyTorch contradicts itself, the pass without a past counts: Moshi's drops a token at the edge of its window,
    and GIT's expects a picture. For an encoder-decoder it is the plain pass: Moonshine's streaming kind generates other
    scores than that with its past and without. XLNet's `generate` asks for the next token by inputs that its graph does
    not take, so that the scores are those of its plain passes. PyTorch that rounds reads a text as the graph does: a
    graph that has no past takes the range of its whole text in each step (Zamba is 23 % off otherwise).
    """
    if "target_mapping" in inspect.signature(model.forward).parameters:
        return _read_again(model, feeds, _generated(model, feeds, use_cache=False)[0])
    try:
        alone = _generated(model, feeds, use_cache=False)
    except Exception:  # noqa: BLE001 - some models have no pass without their state
        return _generated(model, feeds, use_cache=True)
    if getattr(model, "is_rounded", False) and not has_past:
        return alone
    try:
        with_past = _generated(model, feeds, use_cache=True)
    except Exception:  # noqa: BLE001 - CPM-Ant fails with its own past
        return alone
    name = getattr(model.config, "name_or_path", "")
    if not getattr(model, "is_rounded", False):
        _AGREED[name] = _agree(with_past[1], alone[1])
    if _AGREED.get(name, True):
        return with_past
    return _written_again(model, feeds, alone[0]) if model.config.is_encoder_decoder else alone


def _generated(
    model: Any, feeds: Mapping[str, torch.Tensor], *, use_cache: bool
) -> tuple[np.ndarray, list[np.ndarray]]:
    given = model.generate(
        **feeds, do_sample=False, num_beams=1, max_new_tokens=STEPS, min_new_tokens=STEPS, output_logits=True,
        return_dict_in_generate=True, use_cache=use_cache,
    )  # fmt: skip
    return given.sequences.numpy(), [step.float().numpy() for step in given.logits]


def _read_again(
    model: Any, feeds: Mapping[str, torch.Tensor], tokens: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The scores of the last token of each pass over the prompt and the tokens so far."""
    scores, prompt = [], feeds["attention_mask"]
    for end in range(prompt.shape[1], prompt.shape[1] + STEPS):
        mask = torch.nn.functional.pad(prompt, (0, end - prompt.shape[1]), value=1)
        logits = model(input_ids=torch.from_numpy(tokens[:, :end]), attention_mask=mask).logits
        scores.append(logits[:, -1].float().numpy())
    return tokens, scores


def _written_again(
    model: Any, feeds: Mapping[str, torch.Tensor], tokens: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The scores after each beginning of what an encoder-decoder wrote, in one pass of its decoder."""
    read = torch.from_numpy(tokens[:, :-1])
    logits = model(**feeds, decoder_input_ids=read, use_cache=False).logits[:, -STEPS:]
    return tokens, [step.float().numpy() for step in logits.unbind(dim=1)]


def _agree(first: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(
        one.shape == same.shape and np.abs(one - same).max() <= _SAME * max(np.abs(same).max(), 1e-6)
        for one, same in zip(first, other, strict=True)
    )


def decoder_scores(folder: Path, tokens: np.ndarray, mask: np.ndarray) -> list[np.ndarray]:
    """The scores of a decoder's steps. `tokens` has the prompt and PyTorch's choices, `mask` covers the prompt."""
    graph = _decoder(folder)
    known: dict[str, np.ndarray] = {}
    start, scores = 0, []
    for end in range(mask.shape[1], mask.shape[1] + STEPS):
        whole = np.concatenate([mask, np.ones((len(mask), end - mask.shape[1]), np.int64)], axis=1)
        positions = np.maximum(whole.cumsum(axis=1) - 1, 0)
        values = {"input_ids": tokens[:, start:end], "attention_mask": whole, "position_ids": positions[:, start:end]}
        outputs = _run(graph, {**values, **known}, rows=len(mask), past=start)
        scores.append(outputs["logits"][:, -1])
        known = _as_past(outputs, graph)
        start = end if known else 0
    return scores


def has_past(folder: Path) -> bool:
    """Whether the decoder of a folder reads what it has computed for the tokens before."""
    return any(entry.name.startswith(("past", "cache")) for entry in _decoder(folder).get_inputs())


def _decoder(folder: Path) -> Any:
    names = ("model.onnx", "decoder_model_merged.onnx", "decoder_model.onnx")
    return session(_present(folder, *names))


def translator_scores(folder: Path, source: Mapping[str, np.ndarray], tokens: np.ndarray) -> list[np.ndarray]:
    """The scores of the steps of an encoder-decoder, first through its decoder, then through the one with a past."""
    encoder = session(folder / "encoder_model.onnx")
    first = session(_present(folder, "decoder_model.onnx", "decoder_model_merged.onnx"))
    later = session(_present(folder, "decoder_with_past_model.onnx", "decoder_model_merged.onnx", "decoder_model.onnx"))
    hidden = _run(encoder, source, rows=len(tokens), past=0)
    fixed = {"encoder_hidden_states": hidden["last_hidden_state"],
             "encoder_attention_mask": source.get("attention_mask", hidden.get("encoder_attention_mask"))}  # fmt: skip
    start, graph, known, scores = 0, first, {}, []
    begin = tokens.shape[1] - STEPS
    for end in range(begin, tokens.shape[1]):
        step = {"decoder_input_ids": tokens[:, start:end], "input_ids": tokens[:, start:end]}
        step["use_cache_branch"] = np.array([start > 0])
        # Beside `encoder_attention_mask`, Pix2Struct's decoders have their own mask under the plain name.
        step["attention_mask"] = step["decoder_attention_mask"] = np.ones((len(tokens), end), np.int64)
        outputs = _run(graph, {**fixed, **step, **known}, rows=len(tokens), past=start)
        scores.append(outputs["logits"][:, -1])
        known = {**known, **{name: value for name, value in _as_past(outputs, later).items() if value.size}}
        graph, start = (later, end) if known else (first, 0)
    return scores


def _present(folder: Path, *names: str) -> Path:
    return next(folder / name for name in names if (folder / name).exists())


def _as_past(outputs: Mapping[str, np.ndarray], graph: Any) -> dict[str, np.ndarray]:
    names = {entry.name for entry in graph.get_inputs()}
    pairs = ((name.replace("present", "past_key_values", 1), value) for name, value in outputs.items())
    return {name: value for name, value in pairs if name in names}


def _run(graph: Any, values: Mapping[str, Any], *, rows: int, past: int) -> dict[str, np.ndarray]:
    feeds = {}
    for entry in graph.get_inputs():
        value = values.get(entry.name)
        feeds[entry.name] = _empty(entry, rows, past) if value is None else value.astype(_TYPES[entry.type])
    names = [entry.name for entry in graph.get_outputs()]
    return dict(zip(names, graph.run(names, feeds), strict=True))


def _empty(entry: Any, rows: int, past: int) -> np.ndarray:
    """A state before the first token: no row of keys, zeros where the size is fixed."""
    if not entry.name.startswith(("past", "cache")) or past:
        raise ValueError(f"nothing is known of the input `{entry.name}`")
    shape = [axis if isinstance(axis, int) else rows if place == 0 else 0 for place, axis in enumerate(entry.shape)]
    return np.zeros(shape, _TYPES[entry.type])
