"""generate: continues prompts greedily with ONNX Runtime and PyTorch in turn, and times each token."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
import transformers
from msgspec import UNSET, Struct
from transformers.generation.streamers import BaseStreamer

from onnxbuild.protocol import CheckFailed, Facts, Tell
from onnxbuild.steps.generate import GenerateParams
from onnxbuild.tables.tasks import family_of, has_cache
from onnxbuild.workers.engines import timing
from onnxbuild.workers.engines.compiled.open_variant import executed, why_skipped
from onnxbuild.workers.engines.named_outputs import name_outputs
from onnxbuild.workers.engines.onnxruntime_engine import onnx_files, session_options
from onnxbuild.workers.engines.torch_engine import is_onnx
from onnxbuild.workers.generate.greedy import Greedy, opens_with_optimum
from onnxbuild.workers.generate.loader_past import fit_past
from onnxbuild.workers.inputs.tokenizer import load_tokenizer
from onnxbuild.workers.libraries.remote_code import with_its_code

Generate = Callable[..., Any]


class Continuation(Struct, frozen=True, kw_only=True):
    """One engine's continuation of one prompt in one round: tokens, and milliseconds from the start to each."""

    prompt: int
    tokens: tuple[int, ...]
    token_ms: tuple[float, ...]

    @property
    def first_ms(self) -> float:
        """Time to the first token, which is the pass over the prompt."""
        return self.token_ms[0]

    @property
    def rate(self) -> float:
        """Tokens per second, including the pass over the prompt."""
        return 1000 * len(self.tokens) / self.token_ms[-1]

    @property
    def decode_rate(self) -> float | None:
        """Tokens per second after the first one; None if there is only one."""
        spent = self.token_ms[-1] - self.token_ms[0]
        return 1000 * (len(self.tokens) - 1) / spent if spent > 0 else None


class TokenClock(BaseStreamer):  # type: ignore[misc]
    """Records when each token arrives; the first value is the prompt, which `generate` passes before it starts."""

    def __init__(self) -> None:
        """Start the clock."""
        self._prompt_seen = False
        self._start = time.perf_counter_ns()
        self.times_ms: list[float] = []

    def put(self, value: Any) -> None:
        """Record the time of a token."""
        if self._prompt_seen:
            self.times_ms.extend([(time.perf_counter_ns() - self._start) / 1e6] * value.numel())
        self._prompt_seen = True

    def end(self) -> None:
        """Do nothing: every token is recorded."""


@with_its_code
def run(params: GenerateParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Continue every prompt in every round with each engine, write `generations.json`, return text and rates.

    `warnings` says what a user of optimum's loader must do to run the variant.

    Errors: CheckFailed OBE37 if the model has no tokenizer or a prompt has no tokens.
    """
    lacking = why_skipped(inputs["model"], params.runtime)
    if lacking is not None:
        (outputs["samples"] / "generations.json").write_bytes(msgspec.json.encode({}))
        return {"skipped": lacking}
    tokenizer = _tokenizer(params, inputs)
    prompts = [_encode(tokenizer, prompt) for prompt in params.prompts]
    torch.set_num_threads(params.threads)
    progress("loading the variant and PyTorch")
    engines, warnings = _open_engines(params, inputs)
    settings = _settings(tokenizer, params.max_new_tokens)
    for name, model in engines.items():
        progress(f"warming up {name}")
        _continue(model, 0, prompts[0], settings)
    texts: dict[str, list[Continuation]] = {name: [] for name in engines}
    for number in range(params.rounds):
        order = list(engines) if number % 2 == 0 else list(reversed(engines))
        for name in order:
            progress(f"round {number + 1}: {name}", number, params.rounds)
            texts[name] += [_continue(engines[name], place, ids, settings) for place, ids in enumerate(prompts)]
    (outputs["samples"] / "generations.json").write_bytes(msgspec.json.encode(texts))
    own = engines[own_engine(params)]
    ran = executed(own)
    if isinstance(own, Greedy):
        ran |= own.latency(lambda: _token_lists(tokenizer, params.prompts), params.max_new_tokens)
    return _facts(params, tokenizer, texts) | ran | ({"warnings": warnings} if warnings else {})


def _tokenizer(params: GenerateParams, inputs: Mapping[str, Path]) -> Any:
    """The tokenizer of the variant, or else of the reference."""
    folders = (inputs["model"], inputs["reference"])
    loaded = (load_tokenizer(folder, trusts_code=params.trusts_code) for folder in folders)
    tokenizer = next((one for one in loaded if one is not None), None)
    if tokenizer is None:
        raise CheckFailed(
            "OBE37",
            "the model has no tokenizer, so it cannot read a prompt",
            notes=[("hint", "add tokenizer.json and tokenizer_config.json to the source, or leave out `generate`")],
        )
    return tokenizer


def common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two continuations share before they differ; after that they continue different texts."""
    pairs = zip(first, second, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))


def _encode(tokenizer: Any, prompt: str) -> Any:
    encoded = tokenizer(prompt, return_tensors="pt")
    if encoded["input_ids"].numel() == 0:
        raise CheckFailed("OBE37", f"the prompt `{prompt}` has no tokens", notes=[("hint", "write at least one word")])
    return {name: encoded[name] for name in ("input_ids", "attention_mask") if name in encoded}


def _token_lists(tokenizer: Any, prompts: Sequence[str]) -> list[list[int]]:
    return [_encode(tokenizer, prompt)["input_ids"][0].tolist() for prompt in prompts]


def _open_engines(params: GenerateParams, inputs: Mapping[str, Path]) -> tuple[dict[str, Any], list[str]]:
    suffix = "Seq2SeqLM" if family_of(params.task) == "encoder-decoder" else "CausalLM"
    variant, warnings = _open_variant(params, inputs["model"], suffix)
    engines = {own_engine(params): variant}
    if not is_onnx(inputs["reference"]):
        loader = getattr(transformers, f"AutoModelFor{suffix}")
        options = {"local_files_only": True, "trust_remote_code": params.trusts_code}
        model = loader.from_pretrained(inputs["reference"], dtype=torch.float32, **options)
        name_outputs(model)
        engines["torch"] = model.eval()
    return engines, warnings


def own_engine(params: GenerateParams) -> str:
    """The name of what runs the variant."""
    return "onnxruntime" if params.runtime is UNSET else params.runtime.backend


def _open_variant(params: GenerateParams, folder: Path, suffix: str) -> tuple[Any, list[str]]:
    """The variant by optimum's loader, which users have, where it can run it; else by sessions of our own."""
    if opens_with_optimum(folder):
        model = _open_with_optimum(params, folder, suffix)
        try:
            warning = fit_past(model)
        except ValueError as error:
            warning = f"optimum's {type(model).__name__} cannot run the graph ({error}); it ran on plain sessions"
            return Greedy(folder, threads=params.threads), [warning]
        return model, [warning] if warning is not None else []
    return Greedy(folder, threads=params.threads), []


def _open_with_optimum(params: GenerateParams, folder: Path, suffix: str) -> Any:
    from optimum import onnxruntime as optimum_runtime

    options = {"local_files_only": True, "trust_remote_code": params.trusts_code}
    return getattr(optimum_runtime, f"ORTModelFor{suffix}").from_pretrained(
        onnx_files(folder)[0].parent,
        config=transformers.AutoConfig.from_pretrained(folder, **options),
        provider="CPUExecutionProvider",
        session_options=session_options(params.threads),
        use_io_binding=False,  # measured: it changes nothing on the CPU at batch 1
        use_cache=has_cache(params.task),
        **options,
    )


def _settings(tokenizer: Any, max_new_tokens: int) -> dict[str, Any]:
    """Greedy search, the same for every engine, regardless of the checkpoint's generation config."""
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    settings = {"max_new_tokens": max_new_tokens, "do_sample": False, "num_beams": 1}
    return settings | ({"pad_token_id": pad} if pad is not None else {})


def _continue(model: Any, number: int, prompt: Mapping[str, Any], settings: Mapping[str, Any]) -> Continuation:
    clock = TokenClock()
    with torch.inference_mode():
        ids = model.generate(**prompt, **settings, streamer=clock)
    tokens = ids[0].tolist()[-len(clock.times_ms) :] if clock.times_ms else []
    assert tokens, "BUG: generate gave no token"
    return Continuation(prompt=number, tokens=tuple(tokens), token_ms=tuple(clock.times_ms))


def _facts(params: GenerateParams, tokenizer: Any, texts: Mapping[str, list[Continuation]]) -> dict[str, Any]:
    engines = {name: _engine_facts(params, tokenizer, parts) for name, parts in texts.items()}
    own_name = own_engine(params)
    facts: dict[str, Any] = {
        "headline": {"engine": own_name, **_headline(engines[own_name]), "threads": params.threads},
        "engines": engines,
        "threads": params.threads,
        "versions": timing.versions(),
    }
    own, baseline = texts[own_name], texts.get("torch")
    if baseline is not None:
        facts["agreement"] = _agreement(own[: len(params.prompts)], baseline[: len(params.prompts)])
        facts["speedup"] = _spread(
            mine / theirs
            for mine, theirs in zip(_round_rates(own, params), _round_rates(baseline, params), strict=True)
        )
        facts["headline"] |= {
            "baseline": "torch",
            "baseline_tokens_per_second": _headline(engines["torch"])["tokens_per_second"],
            "speedup": facts["speedup"]["median"],
        }
    return facts


def _headline(engine: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers for a table: the median rate after the prompt, or with it if there was only one token."""
    rate = engine["tokens_per_second"] or engine["tokens_per_second_with_prompt"]
    first = engine["time_to_first_token_ms"]
    return {"tokens_per_second": rate["median"], "time_to_first_token_ms": first["median"]}


def _engine_facts(params: GenerateParams, tokenizer: Any, parts: Sequence[Continuation]) -> dict[str, Any]:
    decode = [part.decode_rate for part in parts if part.decode_rate is not None]
    return {
        "text": [tokenizer.decode(part.tokens, skip_special_tokens=True) for part in parts[: len(params.prompts)]],
        "new_tokens": [len(part.tokens) for part in parts[: len(params.prompts)]],
        "tokens_per_second": _spread(decode) if decode else None,
        "tokens_per_second_with_prompt": _spread(part.rate for part in parts),
        "time_to_first_token_ms": _spread(part.first_ms for part in parts),
        "deterministic": all(part.tokens == parts[part.prompt].tokens for part in parts),
    }


def _round_rates(parts: Sequence[Continuation], params: GenerateParams) -> list[float]:
    """Tokens per second of each round, over all prompts."""
    size = len(params.prompts)
    rounds = [parts[start : start + size] for start in range(0, len(parts), size)]
    return [1000 * sum(len(p.tokens) for p in part) / sum(p.token_ms[-1] for p in part) for part in rounds]


def _agreement(own: Sequence[Continuation], baseline: Sequence[Continuation]) -> dict[str, int]:
    shared = sum(common_prefix(a.tokens, b.tokens) for a, b in zip(own, baseline, strict=True))
    return {"tokens": shared, "of": sum(max(len(a.tokens), len(b.tokens)) for a, b in zip(own, baseline, strict=True))}


def _spread(values: Any) -> dict[str, float]:
    numbers = list(values)
    return {"median": statistics.median(numbers), "min": min(numbers), "max": max(numbers)}
