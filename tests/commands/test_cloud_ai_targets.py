"""A target for Cloud AI 100 from a checkpoint to its delivery, with a stand-in for the compiler on the PATH."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from plugin.world import World
from workers.stand_in_card import install as install_sdk

torch = pytest.importorskip("torch")

STAND_IN = Path(__file__).parents[1] / "workers/stand_in_qaic.py"


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.environment["PATH"] = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    checkpoint(world, seed=1)
    write(world)
    return world


def checkpoint(world: World, *, seed: int) -> None:
    import transformers

    torch.manual_seed(seed)
    config = transformers.GPT2Config(vocab_size=97, n_positions=64, n_embd=36, n_layer=2, n_head=3)
    transformers.GPT2LMHeadModel(config).save_pretrained(world.root / "gpt2")


def write(world: World, **block: object) -> None:
    target = {"compile": {"backend": "qaic", "prompt_len": 8, "ctx_len": 41, **block}}
    model = {
        "source": "local:gpt2", "task": "text-generation", "targets": ["aic"], "validate": False, "benchmark": False,
    }  # fmt: skip
    (world.root / "manifest.yaml").write_text(
        json.dumps({"onnxbuild": 1, "targets": {"aic": target}, "models": {"m": model}})
    )


def install(world: World, mode: str = "") -> None:
    folder = world.root / "bin"
    folder.mkdir(exist_ok=True)
    program = folder / "qaic-compile"
    program.write_text(f"#!{sys.executable}\n{STAND_IN.read_text()}")
    program.chmod(0o755)
    (folder / "mode").write_text(mode)


def starts(world: World) -> int:
    calls = world.root / "bin/calls"
    return len(calls.read_text().splitlines()) if calls.exists() else 0


def test_it_is_compiled_once_for_each_content(world: World) -> None:
    done = world.run("--json")
    assert done.code == 0, done
    record = world.root / "out/m/aic/compiled.json"
    assert json.loads(record.read_text())["state"] == "prepared"
    install(world)
    compiled = world.run()
    assert "executed" not in compiled.out, compiled  # nothing has run it: `load` only opens
    assert json.loads(record.read_text())["state"] == "compiled"
    first = (world.root / "out/m/aic/qpc/programqpc.bin").read_bytes()
    assert world.run().code == 0
    assert starts(world) == 1, "a second run compiles nothing"
    checkpoint(world, seed=2)
    assert world.run().code == 0
    assert starts(world) == 2, "other weights with the same config"
    assert (world.root / "out/m/aic/qpc/programqpc.bin").read_bytes() != first
    write(world, sdk="1.22")
    assert world.run().code == 0
    assert starts(world) == 3, "another SDK"
    install(world, mode="slow")
    write(world, num_cores=8)
    late = world.run("--timeout", "4")
    assert late.code == 1
    assert "OBE62 m/aic:compile-qaic failed: " in late.out
    assert not list((world.root / "out").rglob("*.partial"))
    assert b"STAND-IN" in (world.root / "out/m/aic/qpc/programqpc.bin").read_bytes(), "the last result stays"


def test_an_encoder_is_validated_with_its_pooling_and_measured_where_a_card_is(world: World) -> None:
    """By default: nothing but the pooling is written in the manifest. Nothing is exported."""
    target = {"compile": {"backend": "qaic", "seq_len": [33], "pooling": "mean"}}
    config = {"hidden_size": 36, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 44}
    model = {"source": {"random": "bert", "config": config}, "task": "feature-extraction", "targets": ["aic"]}
    model |= {"benchmark": {"sequence": [17], "iterations": 2, "rounds": 1}}
    (world.root / "manifest.yaml").write_text(
        json.dumps({"onnxbuild": 1, "targets": {"aic": target}, "models": {"m": model}})
    )
    install(world)
    done = world.run("--json")
    assert done.code == 0, done
    facts = {one["kind"]: one["facts"] for one in map(json.loads, done.out.splitlines()) if "facts" in one}
    assert list(facts) == ["fetch", "compile-qaic", "validate", "benchmark"]
    assert facts["validate"]["executed_on"] == {"place": "host double", "name": "Cloud AI 100"}
    assert (facts["validate"]["passed"], list(facts["validate"]["outputs"])) == (True, ["forward/mean_pooled"])
    assert facts["benchmark"] == {"skipped": "needs Cloud AI 100: a host double is not measured"}
    tools = install_sdk(world.root / "sdk")
    world.environment["PATH"] = f"{tools}{os.pathsep}{world.environment['PATH']}"
    done = world.run(":benchmark", "--json")
    assert done.code == 0, done
    facts = {one["kind"]: one["facts"] for one in map(json.loads, done.out.splitlines()) if "facts" in one}
    assert starts(world) == 1, "the program of the first run"
    device = {"place": "device", "name": "Cloud AI 100"}
    assert (facts["validate"]["executed_on"], facts["benchmark"]["executed_on"]) == (device, device)
    assert set(facts["benchmark"]["results"][0]["engines"]) == {"qaic", "torch"}
    assert "verified on Cloud AI 100" in world.run().out
