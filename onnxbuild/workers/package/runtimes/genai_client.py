"""Checks a genai package with its client: onnxruntime-genai must write the tokens of a greedy generation."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from onnxbuild.protocol import CheckFailed, Facts, Tell
from onnxbuild.steps.packaging.package_kind import ClientParams
from onnxbuild.workers.engines.onnxruntime_engine import OnnxModel
from onnxbuild.workers.inputs.stages import greedy_passes
from onnxbuild.workers.inputs.tokenizer import load_light_tokenizer
from onnxbuild.workers.package.client_checks import absent_module, reported, skipped, unequal, unopened
from onnxbuild.workers.package.runtimes.genai_folder import CONFIG

_CLIENT = "onnxruntime-genai"
_PROMPTS = ("The second run does nothing, and can say why.", "A manifest", "Once upon a time there were 17 ferries")
_NEW = 16
# Two tokens whose logits differ by less are one choice for rounding: other threads add in another order.
_TIE = 1e-3


def run(params: ClientParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Continue a few prompts with onnxruntime-genai, and compare the tokens with those of plain sessions.

    The prompts are encoded by both tokenizers, which must agree, and cut so that they fit into the context. Without a
    tokenizer, prompts are made of ids.
    Errors: CheckFailed OBE190 for other tokens, OBE191 if the package does not open.
    """
    if absent_module("onnxruntime_genai") is not None:
        return skipped(f"needs {_CLIENT}", outputs)
    # The official builds send usage data by default; the variable is read when the library is loaded.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    package = inputs["model"]
    progress(f"opening the package with {_CLIENT}")
    client = _opened(package)
    prompts = list(_prompts(package, client, params))
    direct = OnnxModel(package, threads=1)
    compared = 0
    for number, ids in enumerate(prompts, start=1):
        progress(f"continuing prompt {number} of {len(prompts)}")
        compared += _compare(client, direct, ids, _ends(package))
    facts = {"client": f"{_CLIENT} {_version()}", "prompts": len(prompts), "equal_tokens": compared}
    return reported(facts, outputs)


def _version() -> str:
    import onnxruntime_genai

    return str(onnxruntime_genai.__version__)


def _opened(package: Path) -> Any:
    import onnxruntime_genai

    try:
        return onnxruntime_genai.Model(str(package))
    except Exception as error:
        raise unopened(_CLIENT, CONFIG, error) from error


def _prompts(package: Path, client: Any, params: ClientParams) -> Iterator[list[int]]:
    """The ids of each prompt. Errors: CheckFailed OBE190 if the tokenizers disagree, OBE191 if one does not open."""
    own = load_light_tokenizer(package, trusts_code=params.trusts_code)
    if own is None:
        yield from ([number, number + 1, number] for number in range(3, 6))
        return
    theirs = _tokenizer(client)
    for text in _PROMPTS:
        expected, got = [int(one) for one in own(text)["input_ids"]], [int(one) for one in theirs.encode(text)]
        if got != expected:
            raise unequal(f"the tokenizer of {_CLIENT} encodes `{text}` as {got} instead of {expected}", {})
        yield got[: max(1, _settings(package)["context_length"] - _NEW)]


def _tokenizer(client: Any) -> Any:
    import onnxruntime_genai

    try:
        return onnxruntime_genai.Tokenizer(client)
    except Exception as error:
        raise unopened(_CLIENT, "tokenizer.json", error) from error


def _ends(package: Path) -> frozenset[int]:
    """The tokens that end a text; without any, onnxruntime-genai takes the one for padding."""
    model = _settings(package)
    ends = model.get("eos_token_id")
    return frozenset([ends] if isinstance(ends, int) else ends or [model.get("pad_token_id", 0)])


def _settings(package: Path) -> dict[str, Any]:
    """What `genai_config.json` says of the model."""
    settings: dict[str, Any] = json.loads((package / CONFIG).read_text(encoding="utf-8"))["model"]
    return settings


def _compare(client: Any, direct: OnnxModel, prompt: list[int], ends: frozenset[int]) -> int:
    """How many new tokens are equal, up to an end or a tie. Errors: CheckFailed OBE190 for another token."""
    made: list[int] = []
    theirs = _generated(client, prompt)
    for number, logits in enumerate(islice(greedy_passes(direct, np.array([prompt]), made), _NEW)):
        row: np.ndarray = logits[0, -1].astype(np.float64)
        own, token = int(row.argmax()), theirs[number] if number < len(theirs) else None
        if token != own and not _ends_here(token, own, ends):
            if token is not None and row[own] - row[token] <= _TIE:
                return number
            raise _other(prompt, [*made, own], theirs[: number + 1])
        if own in ends:
            return number + 1
        made.append(own)
    return len(made)


def _ends_here(token: int | None, own: int, ends: frozenset[int]) -> bool:
    """Whether both end here: the client may leave out the token that ends a text."""
    return token is None and own in ends


def _other(prompt: list[int], own: list[int], theirs: list[int]) -> CheckFailed:
    return unequal(f"{_CLIENT} continues {prompt} with {theirs}, and ONNX Runtime alone with {own}", {})


def _generated(client: Any, prompt: list[int]) -> list[int]:
    import onnxruntime_genai

    try:
        params = onnxruntime_genai.GeneratorParams(client)
        params.set_search_options(
            do_sample=False, num_beams=1, repetition_penalty=1.0, no_repeat_ngram_size=0, max_length=len(prompt) + _NEW
        )
        generator = onnxruntime_genai.Generator(client, params)
        generator.append_tokens(np.array(prompt, np.int32))
        while not generator.is_done():
            generator.generate_next_token()
        return [int(one) for one in generator.get_sequence(0)][len(prompt) :]
    except Exception as error:
        raise unopened(_CLIENT, CONFIG, error) from error
