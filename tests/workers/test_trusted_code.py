"""Checkpoints with their own Python code, from the command line: it runs in every step, or in none."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from families import checkpoint, text_folder
from plugin.world import ROOT, Ended

pytestmark = pytest.mark.heavy

MARK = "the code of the checkpoint ran"
CODE = {
    "configuration_mine.py": """
from transformers import GPT2Config
print("MARK")
class MineConfig(GPT2Config):
    model_type = "mine"
""",
    "modeling_mine.py": """
from transformers import GPT2LMHeadModel
from .configuration_mine import MineConfig
from .louder import LOUDER
class MineModel(GPT2LMHeadModel):
    config_class = MineConfig
    def forward(self, input_ids=None, past_key_values=None, attention_mask=None, position_ids=None, **others):
        given = {"past_key_values": past_key_values, "attention_mask": attention_mask, "position_ids": position_ids}
        outputs = super().forward(input_ids, **given, **others)
        outputs["logits"] = outputs["logits"] * LOUDER
        return outputs
""",
    "louder.py": "LOUDER = 3.0",
    "tokenization_mine.py": """
from transformers import PreTrainedTokenizerFast
class MineTokenizer(PreTrainedTokenizerFast):
    pass
""",
}
EXPORTER = """
from optimum.exporters.onnx import main_export
from optimum.exporters.onnx.model_configs import GPT2OnnxConfig
from transformers import AutoConfig

def export(checkpoint, output, opset, task):
    config = AutoConfig.from_pretrained(checkpoint, trust_remote_code=TRUST)
    configs = {"model": GPT2OnnxConfig(config, task="text-generation", use_past=True, use_past_in_inputs=True)}
    main_export(str(checkpoint), output, task=task, opset=opset, custom_onnx_configs=configs, do_validation=False,
                library_name="transformers", local_files_only=True, trust_remote_code=TRUST)
"""


class Shop:
    """A folder with a checkpoint that brings code, a manifest, and the command."""

    def __init__(self, root, *, trust=None, exporter="auto", **blocks):
        self.root = root
        self.write_checkpoint(root / "model")
        (root / "mine.py").write_text(EXPORTER.replace("TRUST", str(bool(trust))))
        (root / "rows.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in self.text()[:8]))
        export = {"exporter": exporter} | ({} if trust is None else {"trust_remote_code": trust})
        model = {"source": "local:model", "task": "text-generation-with-past", "export": export, **blocks}
        manifest = {"onnxbuild": 1, "datasets": {"rows": {"source": "file:rows.jsonl"}}, "models": {"mine": model}}
        (root / "manifest.yaml").write_text(json.dumps(manifest))

    @staticmethod
    def text():
        return (text_folder() / "text.txt").read_text().splitlines()

    def write_checkpoint(self, folder):
        folder.mkdir()
        for path in checkpoint("gpt2").iterdir():
            os.link(path, folder / path.name)
        self.change(folder / "config.json", model_type="mine", architectures=["MineModel"], auto_map={
            "AutoConfig": "configuration_mine.MineConfig", "AutoModelForCausalLM": "modeling_mine.MineModel",
        })  # fmt: skip
        names = {"AutoTokenizer": [None, "tokenization_mine.MineTokenizer"]}
        self.change(folder / "tokenizer_config.json", tokenizer_class="MineTokenizer", auto_map=names)
        for name, text in CODE.items():
            (folder / name).write_text(text.replace("MARK", MARK))

    def it_ran(self):
        """Whether the checkpoint's code has printed its mark into a log."""
        return any(MARK in path.read_text() for path in (self.root / ".onnxbuild" / "logs").glob("*"))

    @staticmethod
    def change(path, **fields):
        content = json.loads(path.read_text())
        path.unlink()
        path.write_text(json.dumps(content | fields))

    def command(self, *arguments):
        home = self.root / "home"
        home.mkdir(exist_ok=True)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "HF_HOME": str(home)}
        done = subprocess.run(
            [sys.executable, "-m", "onnxbuild", *arguments], cwd=self.root, env=environment, text=True,
            capture_output=True, timeout=900, check=False,
        )  # fmt: skip
        return Ended(done.returncode, done.stdout, done.stderr)


FP32 = {"name": "fp32"}
INT8 = {"method": "static", "dataset": "rows", "samples": 4}


def test_trusted_code_runs_in_every_step_and_leaves_nothing(tmp_path):
    targets = [
        FP32,
        {"name": "int8", "quantize": INT8, "validate": False, "load": False, "benchmark": False, "generate": False},
        {"name": "half", "precision": {"dtype": "fp16", "keep_fp32": "auto"}, "benchmark": False, "generate": False},
    ]
    shop = Shop(
        tmp_path, trust=True, exporter="mine.py:export", targets=targets,
        benchmark={"sequence": [8], "iterations": 2, "rounds": 1, "warmup": 1},
        generate={"prompts": ["The second run"], "max_new_tokens": 4, "rounds": 1},
        validate={"dataset": "rows", "samples": 4, "shapes": [[1, 8], [2, 20]]},
    )  # fmt: skip
    ended = shop.command("run", "manifest.yaml", "--json")
    assert ended.code == 0, ended
    assert set(ended.outcomes().values()) == {"built"}, ended
    kinds = {name.rpartition(":")[2] for name in ended.outcomes()}
    assert kinds == {"fetch", "export", "quantize", "precision", "validate", "benchmark", "generate"}
    facts = {name: action["facts"] for name, action in ended.actions().items()}
    assert facts["mine/fp32:validate"]["metrics"]["max_abs"] < 1e-3
    said = facts["mine/fp32:generate"]["agreement"]
    assert said["tokens"] == said["of"] > 0
    assert shop.it_ran()
    assert not list((tmp_path / "home").rglob("*.py"))  # the copy that transformers imports went with the step
    delivered = tmp_path / "out" / "mine" / "fp32"
    assert set(CODE) <= {path.name for path in delivered.iterdir()}
    script = "import sys, transformers as t; print(type(t.AutoTokenizer.from_pretrained('.', trust_remote_code=True)))"
    environment = {**os.environ, "HF_HOME": str(tmp_path / "elsewhere")}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=delivered, env=environment, capture_output=True, text=True, check=True)
    assert "MineTokenizer" in done.stdout


def test_code_that_is_not_trusted_is_refused_before_anything_runs(tmp_path):
    shop = Shop(tmp_path, targets=[FP32])
    for command in ("lint", "run"):
        ended = shop.command(command, "manifest.yaml")
        assert ended.code == 2, ended
        assert "OB201" in ended.out + ended.err
    assert not shop.it_ran()


def test_code_that_is_not_trusted_does_not_run_behind_an_exporter_of_ones_own(tmp_path):
    fits = {"shapes": [[1, 8], [2, 20]]}  # the default shapes are longer than the model's positions
    shop = Shop(tmp_path, exporter="mine.py:export", targets=[FP32], validate=fits)
    ended = shop.command("run", "manifest.yaml", "--json")
    assert ended.code == 1
    assert ended.actions()["mine:export"]["failure"]["code"] == "OBE14"
    assert not shop.it_ran()


def test_a_step_takes_its_trust_from_the_export_alone(tmp_path):
    shop = Shop(tmp_path, trust=True, exporter="mine.py:export", targets=[FP32], validate={"trust_remote_code": True})
    ended = shop.command("lint", "manifest.yaml")
    assert ended.code == 2
    assert "unknown key `trust_remote_code`" in ended.out
