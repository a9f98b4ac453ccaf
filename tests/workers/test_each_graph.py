from __future__ import annotations

import importlib

import pytest

for module in ("torch", "optimum.onnxruntime"):
    pytest.importorskip(module)

from families import exported, scratch  # noqa: E402

from onnxbuild.steps.optimize import OptimizeParams  # noqa: E402
from onnxbuild.steps.precision import PrecisionParams  # noqa: E402
from onnxbuild.steps.quantize import QuantizeParams  # noqa: E402

pytestmark = pytest.mark.heavy


@pytest.mark.parametrize("kind", ["optimize", "quantize", "precision"])
def test_every_step_counts_all_that_it_delivers(kind):
    """The merged decoder included, before and after; once each kind counted in its own way."""
    params = {
        "optimize": OptimizeParams(level="O1"),
        "quantize": QuantizeParams(method="dynamic", preset="avx2"),
        "precision": PrecisionParams(dtype="fp16"),
    }[kind]
    run = importlib.import_module(f"onnxbuild.workers.{kind}.worker").run
    source = exported("t5")[1]
    told = []
    output = scratch()
    facts = run(params, {"model": source}, {"model": output}, lambda *step: told.append(step))
    for folder, name in ((source, "bytes_before"), (output, "bytes")):
        sizes = {path.name: path.stat().st_size for path in folder.glob("*.onnx")}
        assert len(sizes) == 4
        assert facts[name] == sum(sizes.values()), name
    assert facts["bytes"] != facts["bytes_before"]
    assert facts["ran"] is True
    doing = {"optimize": "optimizing {}", "quantize": "quantizing {}", "precision": "converting {} to fp16"}[kind]
    parts = ("decoder_model.onnx", "decoder_with_past_model.onnx", "encoder_model.onnx")
    files = (parts[0], "decoder_model_merged.onnx", *parts[1:])
    texts = [text for text, _, _ in told]
    steps = [*(doing.format(part) for part in parts), f"merging {files[1]}", *(f"running {one} once" for one in files)]
    assert [text for text in texts if text in steps] == steps
    # Each step is one more, until the last one begins.
    assert [done for _, done, _ in told] == list(range(len(told)))
    assert told[-1][2] == len(told)
