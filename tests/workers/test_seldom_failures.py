"""Failures that need a library or a repository which the other tests do not have: what each of them says."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from types import ModuleType

import pytest

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.export import ExportParams
from onnxbuild.steps.fetch import FetchParams

pytestmark = pytest.mark.heavy

TASK = "text-generation-with-past"


def test_an_adapter_beside_the_weights_of_a_repository_is_never_left_to_a_loader():
    from onnxbuild.workers.fetch.worker import _selected

    sizes = dict.fromkeys(("config.json", "model.safetensors", "adapter_config.json", "adapter_model.safetensors"), 9)
    with pytest.raises(CheckFailed) as caught:
        _selected(FetchParams(origin="hub", repo="org/both"), "org/both", sizes)
    assert str(caught.value) == "OBE95 org/both has an adapter beside its weights"
    hint = "write `adapter: hub:org/both` to merge it into the weights, or `adapter: none` to leave it out"
    assert dict(caught.value.failure.notes) == {"hint": hint}
    taken = _selected(FetchParams(origin="hub", repo="org/both", adapter="take"), "org/both", sizes)
    assert set(taken) == {"adapter_config.json", "adapter_model.safetensors"}


def test_a_model_that_mobius_writes_as_several_graphs(monkeypatch, tmp_path):
    from onnxbuild.workers.export import mobius_exporter

    (tmp_path / "model.safetensors").write_bytes(b"")
    monkeypatch.setattr(mobius_exporter, "_unplaced_weights", lambda: nullcontext([]))
    monkeypatch.setattr(mobius_exporter, "_built", lambda *_, **__: {"vision": None, "embedding": None, "model": None})
    with pytest.raises(CheckFailed) as caught:
        mobius_exporter.export(tmp_path, tmp_path, ExportParams(task=TASK, exporter="mobius"))
    message = "OBE97 mobius writes the model as 3 graphs (vision, embedding, model), which no loader runs as one"
    assert str(caught.value) == message


def test_a_checkpoint_without_a_tokenizer_that_genai_can_save(monkeypatch, tmp_path):
    def create_model(*_place, **_options):
        raise ValueError("Couldn't instantiate the backend tokenizer from one of: (1) a `tokenizers` library")

    models, builder = ModuleType("onnxruntime_genai.models"), ModuleType("onnxruntime_genai.models.builder")
    builder.parse_extra_options, builder.create_model = (lambda *_: {}), create_model
    models.builder = builder
    for name, module in (("onnxruntime_genai", ModuleType("onnxruntime_genai")), (models.__name__, models),
                         (builder.__name__, builder)):  # fmt: skip
        monkeypatch.setitem(sys.modules, name, module)
    from onnxbuild.workers.export.genai_exporter import export

    with pytest.raises(CheckFailed) as caught:
        export(tmp_path, tmp_path, ExportParams(task=TASK, exporter="genai"))
    assert caught.value.failure.code == "OBE101"
    assert "`tokenizer.save_pretrained`" in dict(caught.value.failure.notes)["hint"]
