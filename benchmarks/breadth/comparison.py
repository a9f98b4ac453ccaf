"""Compares graphs with PyTorch: `python comparison.py` with one job as JSON per line on its input, one answer per job.

It imports nothing of onnxbuild. Its inputs have three rows of 7, 150 or 211 tokens, the rows padded to the longest, and
none of them is an input that onnxbuild validates with. A decoder writes tokens with padding on the left, over the graph
alone and, where optimum is installed, through the loader that its users have.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from checkpoints import head
from feeds import Size, feeds_for, mask_of, pad_of, points_for, words
from greedy import decoder_scores, has_past, reference, translator_scores
from judging import RMS, ROUNDED_RMS, TRIES
from rounded_pytorch import Foreign, rounded
from sessions import session
from users_loader import loads_and_writes

SIZES = (Size(tokens=7, samples=3001), Size(tokens=150, samples=8111))
LONG = Size(tokens=211, samples=9103)  # where PyTorch takes it: beyond what small sparse models attend to in full
LIMIT_SECONDS = 600
# PyTorch's name of an output → the graph's, by model type.
_OTHER_NAMES = {"maskformer": {"transformer_decoder_last_hidden_state": "last_hidden_state"}}


class Unjudged(Exception):  # noqa: N818 - not a failure of the graph
    """This script has no way to compare the graph."""


def compare(job: dict[str, Any]) -> dict[str, Any]:
    """The largest errors over all sizes: `worst` (of any element) and `rms`, relative to the reference's scale.

    Where a quantized graph is further from PyTorch than its bound, `rounded` has the errors from PyTorch with the
    graph's own rounded weights. A network that amplifies rounding is near that one, and a damaged graph is not.
    """
    found = _over_sizes(job, _answer_at)
    if not found["rms"] <= RMS.get(job.get("variant", ""), float("inf")):
        try:
            found["rounded"] = _over_sizes(job, _rounded_answer_at)
        except Foreign as reason:
            found["foreign"] = str(reason)
    return found


def _over_sizes(job: dict[str, Any], answer_at: Callable[[dict[str, Any], Size], dict[str, Any]]) -> dict[str, Any]:
    answers = []
    for size in (*SIZES, LONG):
        with suppress(*[Unjudged] if size is LONG else []):
            answers.append(answer_at(job, size))
    worst = max(answers, key=lambda answer: answer["worst"])
    most = {name: max(a[name] for a in answers) for name in ("rms", "typical")}
    return {**worst, **most, "loader": "; ".join(dict.fromkeys(
        a["loader"] for a in answers if a.get("loader")))}  # fmt: skip


def _answer_at(job: dict[str, Any], size: Size, seed: int | None = None) -> dict[str, Any]:
    checkpoint, folder, task = Path(job["checkpoint"]), Path(job["onnx"]), job["task"]
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    model = head(task, transformers.AutoConfig.from_pretrained(checkpoint)).from_pretrained(checkpoint).eval()
    stand_in = nullcontext() if seed is None else rounded(model, folder, seed)
    with torch.inference_mode(), stand_in:
        return _compare(model, folder, task, config, size)


def _rounded_answer_at(job: dict[str, Any], size: Size) -> dict[str, Any]:
    """The nearest of several answers: a network that chooses between nearly equal values has more than one.

    Each is that of PyTorch with the graph's rounded weights, all but the first with weights moved by a millionth.
    """
    answers = []
    for seed in range(TRIES):
        answers.append(_answer_at(job, size, seed))
        if answers[-1]["typical"] <= ROUNDED_RMS:
            break
    return min(answers, key=lambda answer: answer["typical"])


def _compare(model: Any, folder: Path, task: str, config: dict[str, Any], size: Size) -> dict[str, Any]:
    if task.startswith("text-generation"):
        return _decoder(model, folder, config, size)
    if (folder / "encoder_model.onnx").exists():
        return _translator(model, folder, task, config, size)
    if (folder / "vision_encoder.onnx").exists():
        return _cutter(model, folder, config, size)
    if not (folder / "model.onnx").exists():
        raise Unjudged(f"the graphs are {', '.join(sorted(path.name for path in folder.glob('*.onnx')))}")
    return _encoder(model, folder / "model.onnx", config, size)


def _by_pytorch(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:
        raise Unjudged(f"PyTorch does not take these inputs: {type(error).__name__}: {error}"[:300]) from error


def _encoder(model: Any, path: Path, config: dict[str, Any], size: Size) -> dict[str, Any]:
    graph = session(path)
    feeds = feeds_for(graph.get_inputs(), config, size)
    names = [entry.name for entry in graph.get_outputs()]
    # PyTorch goes first: what it refuses says nothing about the graph.
    given = _named(_by_pytorch(lambda: model(**{name: torch.from_numpy(one) for name, one in feeds.items()})), config)
    found = dict(zip(names, graph.run(names, feeds), strict=True))
    named = _tensors(given, names)
    pairs = {name: (value, named[name]) for name, value in found.items() if name in named}
    if not pairs:
        raise Unjudged(f"the outputs {', '.join(names)} have other names in PyTorch: {', '.join(given.keys())}")
    mask = feeds.get("attention_mask")
    kept = _heard if "input_features" in feeds and mask is not None else _counted
    errors = [_error(*kept(ours, theirs.float().numpy(), mask), name) for name, (ours, theirs) in pairs.items()]
    return max(errors, key=lambda error: error["worst"])


def _named(given: Any, config: dict[str, Any]) -> dict[str, Any]:
    """PyTorch's outputs under the graph's names; optimum's documentation says which it means where they differ."""
    others = _OTHER_NAMES.get(config["model_type"], {})
    return {others.get(name, name): value for name, value in given.items()}


def _tensors(given: Mapping[str, Any], names: list[str]) -> dict[str, torch.Tensor]:
    """PyTorch's tensors by name; those of a tuple (a head for each alphabet) by the graph's names, if it is all."""
    for value in given.values():
        if isinstance(value, tuple) and len(value) == len(names) and not set(names) & set(given):
            return dict(zip(names, value, strict=True))
    return {name: value for name, value in given.items() if torch.is_tensor(value)}


def _cutter(model: Any, folder: Path, config: dict[str, Any], size: Size) -> dict[str, Any]:
    """Masks of pictures, from points: the encoder's outputs are the decoder's inputs."""
    encoder, decoder = session(folder / "vision_encoder.onnx"), session(folder / "prompt_encoder_mask_decoder.onnx")
    pictures = feeds_for(encoder.get_inputs(), config, size)
    points = points_for(config, size)
    tensors = {name: torch.from_numpy(value) for name, value in {**pictures, **points}.items()}
    given = _by_pytorch(lambda: model(**tensors))
    seen = dict(zip((entry.name for entry in encoder.get_outputs()), encoder.run(None, pictures), strict=True))
    names = [entry.name for entry in decoder.get_outputs()]
    errors = [_error(ours, given[name].float().numpy(), name)
              for name, ours in zip(names, decoder.run(names, {**seen, **points}), strict=True)]  # fmt: skip
    return max(errors, key=lambda error: error["worst"])


def _heard(found: np.ndarray, wanted: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Without the frames of padding, of which a model of sound makes fewer than it reads."""
    if found.shape != wanted.shape or wanted.ndim != 3:
        return found, wanted
    heard = mask.sum(axis=1) * wanted.shape[1] // mask.shape[1]
    kept = np.arange(wanted.shape[1])[None] < heard[:, None]
    return found[kept], wanted[kept]


def _counted(found: np.ndarray, wanted: np.ndarray, mask: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Without the vectors of padding, which mean nothing; of sound, only the rows without padding."""
    if mask is None or mask.shape[0] != wanted.shape[0] or wanted.ndim < 2 or found.shape != wanted.shape:
        return found, wanted
    if wanted.shape[1] == mask.shape[1]:
        return found[mask == 1], wanted[mask == 1]
    full = mask.all(axis=1) if mask.shape[1] > 200 else slice(None)
    return found[full], wanted[full]


def _decoder(model: Any, folder: Path, config: dict[str, Any], size: Size) -> dict[str, Any]:
    mask = mask_of(size)[:, ::-1].copy()
    ids = np.where(mask == 1, words(size, config, np.random.default_rng(size.tokens)), pad_of(config))
    prompt = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
    tokens, wanted = _by_pytorch(lambda: reference(model, prompt, has_past=has_past(folder)))
    found = decoder_scores(folder, tokens, mask)
    error = _worst_step(found, wanted)
    return {**error, "loader": loads_and_writes("ORTModelForCausalLM", folder, prompt, tokens)}


_LOADERS = {"text2text": "ORTModelForSeq2SeqLM", "automatic": "ORTModelForSpeechSeq2Seq",
            "image": "ORTModelForVision2Seq"}  # fmt: skip


def _translator(model: Any, folder: Path, task: str, config: dict[str, Any], size: Size) -> dict[str, Any]:
    inputs = session(folder / "encoder_model.onnx").get_inputs()
    source = feeds_for(inputs, config, size)
    given = {name: torch.from_numpy(value) for name, value in source.items()}
    tokens, wanted = _by_pytorch(lambda: reference(model, given))
    error = _worst_step(translator_scores(folder, source, tokens), wanted)
    kind = "ORTModelForPix2Struct" if "flattened_patches" in given else _LOADERS[task.partition("-")[0]]
    return {**error, "loader": loads_and_writes(kind, folder, given, tokens)}


def _worst_step(found: list[np.ndarray], wanted: list[np.ndarray]) -> dict[str, Any]:
    errors = [
        _error(ours, theirs, f"step {number}") for number, (ours, theirs) in enumerate(zip(found, wanted, strict=True))
    ]
    worst = max(errors, key=lambda error: error["worst"])
    return {**worst, "typical": float(np.median([error["typical"] for error in errors]))}


def _error(found: np.ndarray, wanted: np.ndarray, name: str) -> dict[str, Any]:
    if found.shape != wanted.shape:
        return {
            "worst": 9.9,
            "rms": 9.9,
            "typical": 9.9,
            "where": f"{name} has shape {found.shape}, PyTorch's {wanted.shape}",
        }
    found, wanted = found.astype(np.float64), wanted.astype(np.float64)
    finite = np.isfinite(wanted)
    if (finite != np.isfinite(found)).any() or not finite.any():
        return {
            "worst": 9.9,
            "rms": 9.9,
            "typical": 9.9,
            "where": f"{name} is not finite where PyTorch's is, or the reverse",
        }
    difference = (found - wanted)[finite]
    spread = max(float(np.abs(wanted[finite]).max()), 1e-6)
    scale = max(float(np.sqrt((wanted[finite] ** 2).mean())), 1e-6)
    rows = np.where(finite, found - wanted, 0.0).reshape(len(wanted), -1) if wanted.ndim else difference[None]
    return {"worst": float(np.abs(difference).max()) / spread, "rms": float(np.sqrt((difference**2).mean())) / scale,
            "typical": float(np.median(np.sqrt((rows**2).mean(axis=1)))) / scale, "where": name}  # fmt: skip


def answer(job: dict[str, Any]) -> dict[str, Any]:
    """The answer to a job, whatever happens."""
    try:
        return compare(job)
    except Unjudged as reason:
        return {"unjudged": str(reason)}
    except Exception as error:  # noqa: BLE001 - a graph that cannot be run is a result
        return {"error": f"{type(error).__name__}: {error}"[:400]}


def apart(job: dict[str, Any]) -> dict[str, Any]:
    """`answer` in a process of its own where the system can fork: no model changes what the next one sees."""
    if not hasattr(os, "fork"):
        return answer(job)
    with tempfile.TemporaryFile("w+") as file:
        child = os.fork()
        if child == 0:
            file.write(json.dumps(answer(job)))
            file.flush()
            os._exit(0)
        end = time.monotonic() + LIMIT_SECONDS
        while os.waitpid(child, os.WNOHANG) == (0, 0):
            if time.monotonic() > end:
                os.kill(child, 9)
                os.waitpid(child, 0)
                return {"error": f"the comparison took longer than {LIMIT_SECONDS} s"}
            time.sleep(0.05)
        file.seek(0)
        return json.loads(file.read() or '{"error": "the process of the comparison died"}')


def main() -> None:
    """Answer each job."""
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    for line in sys.stdin:
        print(json.dumps(apart(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
