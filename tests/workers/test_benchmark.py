from __future__ import annotations

import json
import math
import os
import subprocess
import sys

import pytest

for module in ("torch", "optimum.onnxruntime"):
    pytest.importorskip(module)

import torch  # noqa: E402
from small_models import exported, minilm  # noqa: E402

from onnxbuild.protocol import CheckFailed  # noqa: E402
from onnxbuild.runners.worker_environment import of_worker  # noqa: E402
from onnxbuild.steps.benchmark import BenchmarkParams  # noqa: E402
from onnxbuild.workers.benchmark.worker import _told, run  # noqa: E402

pytestmark = pytest.mark.heavy


@pytest.fixture
def benchmark(tmp_path):
    """Runs a benchmark; its raw samples lie under `tmp_path`."""
    return lambda model, **params: run(
        BenchmarkParams(task=model.task, **params), model.inputs, {"samples": tmp_path}, lambda *_: None
    )


def test_minilm_against_pytorch(benchmark, tmp_path):
    facts = benchmark(minilm(), batch=(1, 2), sequence=(16,), iterations=8, rounds=4)
    headline = facts["headline"]
    assert {name: headline[name] for name in ("engine", "baseline", "stage", "batch", "sequence", "threads")} == {
        "engine": "onnxruntime",
        "baseline": "torch",
        "stage": "forward",
        "batch": 1,
        "sequence": 16,
        "threads": 1,
    }
    first = facts["results"][0]["engines"]["onnxruntime"]
    assert headline["p50_ms"] == first["p50_ms"]
    assert first["n"] == 8
    assert 0 < first["min_ms"] <= first["p50_ms"] <= first["p99_ms"] <= first["max_ms"]
    assert first["tokens_per_second"] == pytest.approx(16 * first["samples_per_second"])
    assert [result["batch"] for result in facts["results"]] == [1, 2]
    assert facts["results"][0]["threads_used"] == {"onnxruntime": 1, "torch": 1}
    assert facts["file_bytes"] == (minilm().onnx / "model.onnx").stat().st_size
    assert facts["providers"].keys() == {"CPUExecutionProvider"}
    operators = facts["operators"]["CPUExecutionProvider"]
    assert sum(operators.values()) == facts["providers"]["CPUExecutionProvider"]
    assert operators["MatMul"] > 30  # six layers of six, besides the scores of the attention
    assert facts["environment"].keys() >= {"cpu", "flags", "cores", "governor", "load_average", "versions"}
    assert facts["first_inference_ms"].keys() == {"onnxruntime", "torch"}
    raw = json.loads((tmp_path / "latencies.json").read_text())
    assert {(r["engine"], tuple(map(len, r["rounds_ms"]))) for r in raw} == {
        ("onnxruntime", (2, 2, 2, 2)),
        ("torch", (2, 2, 2, 2)),
    }


def test_one_thread_takes_one_core(benchmark):
    """The promise that latencies are compared at equal threads: neither engine uses more cores than it was given."""
    facts = benchmark(minilm(), sequence=(64,), batch=(4,), iterations=6, rounds=3)
    used = {name: found["cpu_utilisation"] for name, found in facts["results"][0]["engines"].items()}
    assert max(used.values()) < 1.2


def test_every_thread_count_is_what_both_engines_use(benchmark):
    facts = benchmark(exported("bert"), sequence=(8,), threads=(2, 1), iterations=2, rounds=1)
    assert [result["threads_used"] for result in facts["results"]] == [
        {"onnxruntime": 2, "torch": 2},
        {"onnxruntime": 1, "torch": 1},
    ]


def test_a_decoder_is_timed_with_and_without_its_past(benchmark):
    facts = benchmark(exported("gpt2"), sequence=(32,), iterations=4, rounds=2)
    assert [(r["stage"], r["tokens"], r["past"]) for r in facts["results"]] == [("prefill", 32, 0), ("decode", 1, 32)]


def test_an_encoder_decoder_is_timed_by_its_parts(benchmark):
    facts = benchmark(exported("t5"), sequence=(32,), iterations=4, rounds=2)
    assert sorted(r["stage"] for r in facts["results"]) == ["decoder_step", "encoder", "merged_step"]
    assert facts["headline"]["stage"] == "encoder"


def test_without_a_baseline_there_is_no_speedup(benchmark):
    facts = benchmark(exported("vit"), iterations=4, rounds=2, baselines=())
    assert facts["headline"]["speedup"] is None
    assert facts["results"][0]["engines"].keys() == {"onnxruntime"}


@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")  # torch's own, while it loads its compiler
def test_a_compiler_that_fails_is_reported(benchmark):
    import torch._inductor.config as inductor

    with inductor.patch({"cpp.cxx": ("no-such-compiler",), "force_disable_caches": True}):
        facts = benchmark(exported("bert"), iterations=4, rounds=2, baselines=("torch", "torch.compile"))
    (result,) = facts["results"]
    assert result["failed"].keys() == {"torch.compile"}
    assert result["speedup"].keys() == {"torch"}
    assert facts["warnings"] == [f"`torch.compile` did not run: {result['failed']['torch.compile']}"]


def test_the_reason_names_what_the_compiler_said():
    error = (
        "CppCompileError: C++ compile error\n\nCommand:\ng++ a.cpp\na.cpp:1: fatal error: x.h: not found\nerror: more"
    )
    assert _told(error) == "CppCompileError: C++ compile error (a.cpp:1: fatal error: x.h: not found)"
    assert _told("only this") == "only this"
    assert _told("") == ""


COMPILED_TWICE = """
import os, shutil, sys, tempfile, torch
for number, folder in enumerate(sys.argv[1:], 1):
    os.mkdir(folder)
    tempfile.tempdir = os.environ["TMPDIR"] = folder
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{folder}/inductor"
    torch.compiler.reset()
    found = torch.compile(lambda x: (x * number).sin())(torch.arange(7.0))
    shutil.rmtree(folder)
    print(float(found[2]))
"""


def test_a_worker_compiles_again_after_the_folder_of_its_first_action_is_gone(tmp_path):
    environment = {**of_worker(os.environ, 1, network=False), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", COMPILED_TWICE, str(tmp_path / "a"), str(tmp_path / "b")],
        env=environment, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert [float(line) for line in done.stdout.split()] == pytest.approx([math.sin(2), math.sin(4)], abs=1e-6)


def test_a_provider_that_is_not_there_fails(benchmark):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(CheckFailed) as caught:
        benchmark(exported("bert"), device="cuda", baselines=())
    failure = caught.value.failure
    assert failure.code == "OBE43"
    assert failure.message == (
        f"CUDAExecutionProvider is not in this onnxruntime {onnxruntime.__version__}, "
        f"which has {', '.join(onnxruntime.get_available_providers())}"
    )


@pytest.mark.parametrize("model", ["bert", "gpt2", "t5", "vit"])
def test_pytorch_in_16_bits_is_a_baseline_of_its_own(benchmark, model):
    """Images and pasts are floats too, so they have to be halved with the weights."""
    facts = benchmark(exported(model), sequence=(8,), iterations=2, rounds=1, baselines=("torch", "torch.bf16"))
    assert [result["failed"] for result in facts["results"]] == [{}] * len(facts["results"])
    assert {name for result in facts["results"] for name in result["engines"]} == {
        "onnxruntime",
        "torch",
        "torch.bf16",
    }


def test_a_copy_in_16_bits_computes_in_them():
    from onnxbuild.workers.engines.onnxruntime_engine import OnnxModel
    from onnxbuild.workers.engines.torch_engine import load_torch, variant_of

    model = exported("bert")
    plain = load_torch(model.checkpoint, model.task, OnnxModel(model.onnx, threads=1))
    halved = variant_of(plain, "torch.fp16")
    assert (halved.name, halved.model.dtype, plain.model.dtype) == ("torch.fp16", torch.float16, torch.float32)
