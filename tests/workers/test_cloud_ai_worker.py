"""compile qaic as a step: with the stand-in for its compiler, and without one."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from cloud_ai_models import CONTEXT, greedy, prompts, random_decoder, write_compiler

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.compiling.compiled_record import read_record
from onnxbuild.steps.compiling.qaic_backend import QaicParams
from onnxbuild.steps.kind import Runtime
from onnxbuild.steps.packaging.compiled_package import CompiledClientParams
from onnxbuild.workers.compile.qaic import qaic_worker
from onnxbuild.workers.compile.qaic.card_latency import latency_of
from onnxbuild.workers.compile.qaic.retained_decoding import Decoder, ProgramShape
from onnxbuild.workers.engines.compiled.open_variant import open_variant, why_not_timed, why_skipped
from onnxbuild.workers.generate.greedy import Greedy
from onnxbuild.workers.package import compiled_client

RUNTIME = Runtime(backend="qaic", needs=("onnxruntime",))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("gpt2")
    random_decoder("gpt2").save_pretrained(folder)
    return folder


@pytest.fixture
def tools(tmp_path, monkeypatch) -> Path:
    """A folder of the PATH with the stand-in as `qaic-compile` and `qaic-exec`."""
    folder = tmp_path / "tools"
    write_compiler(folder)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def build(checkpoint: Path, folder: Path, **params: Any) -> dict[str, Any]:
    folder.mkdir()
    settings: dict[str, Any] = {"task": "text-generation", "prefill_seq_len": 8, "ctx_len": CONTEXT, **params}
    return dict(qaic_worker.run(QaicParams(**settings), {"model": checkpoint}, {"model": folder}, lambda *_: None))


def test_without_the_compiler_everything_for_it_is_written(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    facts = build(checkpoint, tmp_path / "out")
    assert (facts["state"], facts["needs"]) == ("prepared", "qaic-compile")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "compile.sh", "compiled.json", "config.json", "custom_io.yaml", "generation_config.json", "model.onnx",
        "qconfig.json", "specializations.json",
    ]  # fmt: skip
    script = (tmp_path / "out/compile.sh").read_text()
    assert script.splitlines()[-1].startswith("qaic-compile -aic-hw -aic-hw-version=ai100 -m=model.onnx ")
    record = read_record(tmp_path / "out")
    assert record is not None
    assert str(tmp_path) not in (tmp_path / "out/compiled.json").read_text()
    assert why_skipped(tmp_path / "out", RUNTIME) is None
    assert why_not_timed(tmp_path / "out", RUNTIME) == "needs Cloud AI 100: a host double is not measured"


@pytest.mark.parametrize(
    ("params", "calls"),
    [
        ({"num_devices": 2, "mxfp6": True, "mxint8_kv": True, "options": {"mos": 1}}, "-mxfp6-matmul"),
        ({"full_batch_size": 3}, "-retained-state"),
        ({"sdk": "1.22"}, "-aic-hw-version=ai100"),
        ({"sdk": "1.21", "hw_version": "ai200"}, "-aic-hw-version=ai200"),
        ({"sdk": "1.20", "full_batch_size": 3, "num_devices": 2}, "-aic-hw-version=2.0"),
    ],
)
def test_the_compiler_gets_files_that_it_can_read(checkpoint, tmp_path, tools, params, calls):
    if calls.endswith("2.0"):
        (tools / "hardware").write_text("2.0")
    facts = build(checkpoint, tmp_path / "out", **params)
    assert facts["state"] == "compiled"
    assert facts["compiler"] == {"name": facts["command"][0], "version": "unknown"}, "no SDK is around the compiler"
    (call,) = (json.loads(line) for line in (tools / "calls").read_text().splitlines())
    assert calls in call
    assert call == list(facts["command"][1:])
    assert (tmp_path / "out/qpc/programqpc.bin").read_bytes().startswith(b"STAND-IN")
    assert "qpc/programqpc.bin" in read_record(tmp_path / "out").files


@pytest.mark.parametrize(
    ("mode", "code", "words"),
    [
        ("fail", "OBE235", "ended with code 7"),
        ("killed", "OBE235", "was killed by SIGKILL"),
        ("nothing", "OBE236", "ended with code 0 and did not write `qpc/programqpc.bin`"),
    ],
)
def test_a_compiler_that_fails(checkpoint, tmp_path, tools, mode, code, words):
    (tools / "mode").write_text(mode)
    with pytest.raises(CheckFailed) as caught:
        build(checkpoint, tmp_path / "out")
    assert caught.value.failure.code == code
    assert words in caught.value.failure.message


def test_a_damaged_program_is_refused(checkpoint, tmp_path, tools):
    build(checkpoint, tmp_path / "out")
    (tmp_path / "out/qpc/programqpc.bin").write_bytes(b"STAND-IN of other weights")
    with pytest.raises(CheckFailed) as caught:
        open_variant(tmp_path / "out", threads=1)
    assert caught.value.failure.code == "OBE232"


@pytest.mark.parametrize("content", [b"\x00 of another processor", b"#!/nowhere/interpreter\n"])
def test_a_compiler_that_does_not_start(checkpoint, tmp_path, tools, content):
    (tools / "qaic-compile").write_bytes(content)
    with pytest.raises(CheckFailed, match="qaic-compile` does not start: ") as caught:
        build(checkpoint, tmp_path / "out")
    assert caught.value.failure.code == "OBE237"


def sdk_around(tools: Path, *, apps: str, platform: str | None = None) -> None:
    """The files that an SDK has beside the folder of its programs."""
    folder = tools.parent / "versions"
    folder.mkdir(exist_ok=True)
    for name, version in (("apps", apps), ("platform", platform or apps)):
        (folder / f"{name}.xml").write_text(f"<x><base_version> {version}\n</base_version><build_id>7</build_id></x>")


def test_the_version_of_the_compiler_is_that_of_its_sdk(checkpoint, tmp_path, tools):
    sdk_around(tools, apps="1.22.0.70", platform="1.22.1.3")
    facts = build(checkpoint, tmp_path / "out", sdk="1.22")
    assert facts["compiler"] == {"name": "qaic-compile", "version": "1.22.0.70"}
    assert read_record(tmp_path / "out").compiler.version == "1.22.0.70"
    config = json.loads((tmp_path / "out/qconfig.json").read_text())["qpc_config"]["aic_sdk_config"]
    assert config == {"qaic_apps_version": "1.22.0.70", "qaic_platform_version": "1.22.1.3"}


def test_a_compiler_of_another_sdk_than_the_target_names_is_refused(checkpoint, tmp_path, tools):
    sdk_around(tools, apps="1.22.0.70")
    with pytest.raises(CheckFailed) as caught:
        build(checkpoint, tmp_path / "out", sdk="1.23")
    failure = caught.value.failure
    assert (failure.code, failure.message) == (
        "OBE244", "`qaic-compile` is of the Cloud AI SDK 1.22.0.70, and the target asks for 1.23"
    )  # fmt: skip
    assert dict(failure.notes)["hint"].startswith('write `sdk: "1.22"`')
    assert not (tools / "calls").exists()
    sdk_around(tools, apps="1.31.0.2")
    facts = build(checkpoint, tmp_path / "later", sdk="1.23")
    assert facts["compiler"]["version"] == "1.31.0.2", "no manifest can name it"


def test_a_program_of_another_sdk_is_refused(checkpoint, tmp_path, tools):
    sdk_around(tools, apps="1.23.0.5")
    build(checkpoint, tmp_path / "out")
    open_variant(tmp_path / "out", threads=1)
    sdk_around(tools, apps="1.23.2.9")
    open_variant(tmp_path / "out", threads=1)
    sdk_around(tools, apps="1.24.0.1")
    with pytest.raises(CheckFailed) as caught:
        open_variant(tmp_path / "out", threads=1)
    failure = caught.value.failure
    assert (failure.code, failure.message) == (
        "OBE233", "the program is of the Cloud AI SDK 1.23.0.5, and 1.24.0.1 is installed"
    )  # fmt: skip


def without(folder: Path, name: str, *keys: str) -> None:
    """Remove entries of a table of `compiled.json`; all of them without `keys`."""
    record = json.loads((folder / "compiled.json").read_text())
    record[name] = {key: value for key, value in record[name].items() if keys and key not in keys}
    (folder / "compiled.json").write_text(json.dumps(record))


@pytest.mark.parametrize("setting", ["decodes", "devices"])
def test_a_record_without_a_setting_is_refused(checkpoint, tmp_path, setting):
    build(checkpoint, tmp_path / "out")
    without(tmp_path / "out", "settings", setting)
    with pytest.raises(CheckFailed, match=f"lacks `{setting}`") as caught:
        open_variant(tmp_path / "out", threads=1)
    assert caught.value.failure.code == "OBE234"


def test_a_record_without_stages_is_refused(checkpoint, tmp_path):
    build(checkpoint, tmp_path / "out")
    without(tmp_path / "out", "stages")
    with pytest.raises(CheckFailed, match="names no stage") as caught:
        open_variant(tmp_path / "out", threads=1)
    assert caught.value.failure.code == "OBE230"


@pytest.mark.parametrize("producer", ["onnxbuild", "qefficient"])
def test_a_cache_beyond_the_positions_is_refused_before_anything_is_written(checkpoint, tmp_path, producer):
    with pytest.raises(CheckFailed, match="`ctx_len` has 65 tokens, and that is longer than the model's 64") as caught:
        build(checkpoint, tmp_path / "out", ctx_len=65, producer=producer)
    assert caught.value.failure.code == "OBE240"
    assert not list((tmp_path / "out").iterdir())


def test_a_package_says_that_its_program_was_not_opened(checkpoint, tmp_path, tools):
    (tmp_path / "package").mkdir()
    build(checkpoint, tmp_path / "package/card")
    params = CompiledClientParams(task="text-generation", runtimes={"card": RUNTIME})

    def checked() -> Any:
        return compiled_client.run(params, {"model": tmp_path / "package"}, {"report": tmp_path}, lambda *_: None)

    facts = checked()
    double = "qaic (host double of Cloud AI 100, which does not open the compiled program)"
    assert (facts["client"], facts["opened"]) == (double, ["card"])
    assert facts["opened_on"] == {"card": {"place": "host double", "name": "Cloud AI 100"}}
    (tools / "qaic-compile").unlink()
    shutil.rmtree(tmp_path / "package/card")
    build(checkpoint, tmp_path / "package/card")
    assert checked()["client"] == "qaic (host double of Cloud AI 100)", "there is no program"


def test_a_validation_sees_the_logits_of_every_token(checkpoint, tmp_path):
    build(checkpoint, tmp_path / "out", batch_size=2)
    variant = open_variant(tmp_path / "out", threads=1)
    model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, attn_implementation="eager").eval()
    ids = np.random.default_rng(1).integers(1, 97, (3, 21))
    mask = np.ones_like(ids)
    mask[1, :6] = 0
    positions = (mask.cumsum(1) - 1).clip(0)
    logits = variant.run("forward", {"input_ids": ids, "attention_mask": mask, "position_ids": positions})["logits"]
    with torch.inference_mode():
        feeds = (torch.tensor(one) for one in (ids, mask, positions))
        wanted = model(**dict(zip(("input_ids", "attention_mask", "position_ids"), feeds, strict=True))).logits.numpy()
    np.testing.assert_allclose(logits[mask == 1], wanted[mask == 1], atol=0.005)  # the cache is in fp16
    assert np.abs(wanted).max() > 4
    assert (variant.where.place, variant.where.name) == ("host double", "Cloud AI 100")
    long = np.ones((1, CONTEXT + 1), np.int64)
    with pytest.raises(CheckFailed, match="a text of 42 tokens is longer than the cache, which holds 41"):
        variant.run("forward", {"input_ids": long, "attention_mask": long, "position_ids": long})


def test_texts_are_generated_by_the_program_and_timed_by_its_own_loop(checkpoint, tmp_path):
    build(checkpoint, tmp_path / "out", full_batch_size=2)
    greedy_text = Greedy(tmp_path / "out", threads=1)
    model = random_decoder("gpt2")
    texts = prompts()
    heard: list[int] = []

    class Streamer:
        def put(self, tokens):
            heard.extend(tokens.flatten().tolist())

        def end(self):
            heard.append(-1)

    prompt = torch.tensor([texts[0]])
    whole = greedy_text.generate(
        input_ids=prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=7, streamer=Streamer()
    )
    wanted = [*texts[0], *greedy(model, texts[0], 7)]
    assert whole[0].tolist() == wanted
    assert heard == [*wanted, -1]
    with pytest.raises(CheckFailed, match="a prompt of 19 tokens and 24 new ones do not fit the cache of 41") as caught:
        greedy_text.generate(
            input_ids=prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=24, streamer=Streamer()
        )
    assert ("hint", "raise `ctx_len`, or write `max_new_tokens: 23`") in caught.value.failure.notes
    latency = greedy_text.latency(lambda: texts, 7)["latency"]
    assert {name: latency[name] for name in ("measured_on", "prompts", "new_tokens")} == {
        "measured_on": "host double", "prompts": 4, "new_tokens": 28,
    }  # fmt: skip


class Ticking:
    """A session whose every run takes one second of the clock that it is."""

    device = "a clock"

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def run(self, feeds):
        self.now += 1.0
        return {"logits": np.zeros((len(feeds["input_ids"]), 1, 5), np.float32)}


def test_latency_counts_as_efficient_transformers_does():
    session = Ticking()
    decoder = Decoder(session, ProgramShape(4, 64, 2, batched=False), clock=session)
    session.now = 0.5  # what the tokenizer took
    decoded = decoder.decode([[1] * 9, [1] * 3], 11, started=0.0)
    # Three chunks of prompts give the first token of each text, and ten runs of single tokens the rest.
    assert latency_of(decoded, session.device) == {
        "measured_on": "a clock",
        "prompts": 2,
        "new_tokens": 22,
        "time_to_first_token_seconds": 3.5,
        "decode_tokens_per_second": 2.0,
        "total_tokens_per_second": 20 / 13.5,
        "total_seconds": 13.5,
    }
