"""compare-exporters with the real exporters, each in an environment that has it."""

from __future__ import annotations

import json

import pytest
from kept import kept_between_tests
from toolchain5 import environment

from onnxbuild.cli import run_command

pytestmark = pytest.mark.heavy


def test_a_model_is_built_with_three_exporters_and_the_second_time_with_none(tmp_path, capsys):
    python = environment().interpreter(lambda _text: None, lambda *_command: (1, ""))
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = {**sizes, "num_key_value_heads": 1, "max_position_embeddings": 64, "vocab_size": 97}
    model = {"source": {"random": "qwen3", "config": config}, "task": "text-generation-with-past",
             "toolchain": "five", "targets": ["fp32"],
             "benchmark": {"sequence": [8], "iterations": 2, "rounds": 2, "warmup": 1}}  # fmt: skip
    document = {"onnxbuild": 1, "toolchains": {"five": {"python": str(python)}}, "targets": {"fp32": {}},
                "models": {"small": model}}  # fmt: skip
    (tmp_path / "m.yaml").write_text(json.dumps(document))
    command = ["compare-exporters", str(tmp_path / "m.yaml"), "--json", "--allow-path", str(kept_between_tests())]
    assert run_command(command) == 0
    first = json.loads(capsys.readouterr().out)
    rows = {one["exporter"]: one for one in first["exporters"]}
    assert list(rows) == ["optimum", "transformers", "mobius", "genai"]
    for name in ("optimum", "transformers", "mobius"):
        assert rows[name]["verdict"] == "passed", rows[name]
        assert rows[name]["max_abs"] < 1e-4
        assert rows[name]["latency_ms"] > 0
    assert first["most_exact"] in rows
    assert first["fastest"] in rows
    assert run_command(command) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == first
    assert "built" not in said.err


@pytest.fixture
def checkpoint(tmp_path):
    """A Qwen3 whose heads have 24 numbers: all exporters know the type, and genai's attention has no kernel for it."""
    torch = pytest.importorskip("torch")
    from small_models import _tokenizer
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    more = {"head_dim": 24, "intermediate_size": 128, "max_position_embeddings": 300, "vocab_size": 500}
    torch.manual_seed(3)
    config = AutoConfig.for_model("qwen3", **sizes, **more, initializer_range=0.1, pad_token_id=0)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "Small Qwen")
    _tokenizer().save_pretrained(tmp_path / "Small Qwen")
    return tmp_path / "Small Qwen"


def test_a_checkpoint_folder_is_compared_without_a_manifest(checkpoint, tmp_path, monkeypatch, capsys):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    command = ["compare-exporters", str(checkpoint), "--store", str(kept_between_tests())]
    assert run_command([*command, "--json"]) == 0
    rows = {one["exporter"]: one for one in json.loads(capsys.readouterr().out)["exporters"]}
    assert {name: row["verdict"] for name, row in rows.items()} == {
        "optimum": "passed", "transformers": "passed", "mobius": "passed", "genai": "failed",
    }  # fmt: skip
    assert [rows[name]["version"] for name in rows] == ["2.1.0", "5.23.0", "0.1.0", "0.18.0"]
    for name in ("optimum", "transformers", "mobius"):
        assert rows[name]["max_abs"] < 1e-4
        assert rows[name]["latency_ms"] > 0
        made = tmp_path / "work/.onnxbuild/compare-exporters/small-qwen/out/compare-exporters" / f"small-qwen-{name}"
        assert (made / "fp32" / "model.onnx").is_file()
    kernel = (
        "OBE31 this runtime's attention takes only heads whose size is a multiple of 16, and the model's leave 8 over"
    )
    assert rows["genai"]["because"].startswith(kernel)

    assert run_command(command) == 0
    said = capsys.readouterr()
    assert "built" not in said.err
    lines = said.out.splitlines()
    assert lines[0].split() == ["exporter", "version", "size", "worst", "difference", "latency", "verdict"]
    assert lines[6].startswith(f"genai: {kernel}")
    assert [line.partition(":")[0] for line in lines[7:]] == ["validates best", "runs fastest"]
