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
