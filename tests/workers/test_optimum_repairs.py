"""Models that optimum exports only with a repair: they agree with PyTorch at sizes that were not traced."""

from __future__ import annotations

import numpy as np
import pytest

for module in ("torch", "optimum.exporters.onnx"):
    pytest.importorskip(module)

import onnx  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

from onnxbuild.steps.export import ExportParams  # noqa: E402
from onnxbuild.workers.engines.smoke_run import open_for_check  # noqa: E402
from onnxbuild.workers.export.optimum_exporter import export  # noqa: E402
from onnxbuild.workers.export.repairs.unnamed_outputs import drop_unnamed_outputs  # noqa: E402
from onnxbuild.workers.libraries.imagegpt_positions import count_positions  # noqa: E402
from onnxbuild.workers.libraries.quiet import quiet  # noqa: E402

pytestmark = pytest.mark.heavy

PART = {"hidden_size": 36, "intermediate_size": 40, "num_hidden_layers": 1, "num_attention_heads": 3}


def decision_transformer():
    config = transformers.DecisionTransformerConfig(
        hidden_size=32, n_layer=1, n_head=2, n_positions=128, state_dim=5, act_dim=3, max_ep_len=50
    )
    return transformers.DecisionTransformerModel(config), "feature-extraction"


def metaclip_2():
    text = {**PART, "vocab_size": 99, "max_position_embeddings": 64, "eos_token_id": 2, "bos_token_id": 1}
    config = transformers.MetaClip2Config(
        text_config=text, vision_config={**PART, "image_size": 24, "patch_size": 8}, projection_dim=20
    )
    return transformers.MetaClip2Model(config), "zero-shot-image-classification"


def imagegpt():
    config = transformers.ImageGPTConfig(vocab_size=99, n_embd=32, n_layer=1, n_head=2, n_positions=64, num_labels=5)
    return transformers.ImageGPTForImageClassification(config), "image-classification"


def fed(name, rows, length):
    random = np.random.default_rng(length)
    if name == "decision_transformer":
        widths = {"states": 5, "actions": 3, "returns_to_go": 1}
        floats = {key: random.standard_normal((rows, length, width)) for key, width in widths.items()}
        times = random.integers(0, 50, (rows, length))
        return {**floats, "timesteps": times, "attention_mask": np.ones_like(times)}
    ids = random.integers(6, 99, (rows, length))
    if name == "imagegpt":
        return {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    ids[:, -1] = 2
    return {"input_ids": ids, "attention_mask": np.ones_like(ids),
            "pixel_values": random.standard_normal((rows + 1, 3, 24, 24))}  # fmt: skip


@pytest.mark.parametrize("make", [decision_transformer, metaclip_2, imagegpt], ids=lambda make: make.__name__)
def test_a_repaired_graph_agrees_with_pytorch(make, tmp_path):
    torch.manual_seed(0)
    model, task = make()
    model.eval().save_pretrained(tmp_path / "checkpoint")
    with quiet():
        export(tmp_path / "checkpoint", tmp_path / "onnx", ExportParams(exporter="optimum", task=task))
    graph = open_for_check(tmp_path / "onnx" / "model.onnx")
    names = [one.name for one in graph.get_outputs()]
    for rows, length in ((1, 8), (3, 7)):
        types = {one.name: np.int64 if one.type == "tensor(int64)" else np.float32 for one in graph.get_inputs()}
        feeds = {name: value.astype(types[name]) for name, value in fed(make.__name__, rows, length).items()
                 if name in types}  # fmt: skip
        assert feeds.keys() == types.keys()
        with torch.inference_mode():
            wanted = model(**{name: torch.from_numpy(value) for name, value in feeds.items()})
        for name, value in zip(names, graph.run(None, feeds), strict=True):
            np.testing.assert_allclose(value, wanted[name].numpy(), atol=1e-4, err_msg=f"{name}, {rows} × {length}")


def test_the_reference_of_imagegpt_runs_without_a_cache():
    torch.manual_seed(0)
    model, _ = imagegpt()
    feeds = {name: torch.from_numpy(value) for name, value in fed("imagegpt", 2, 9).items()}
    with torch.inference_mode():
        wanted = model.eval()(**feeds).logits
        count_positions(model)
        assert torch.equal(model(**feeds, use_cache=False).logits, wanted)


def test_outputs_that_nobody_named_are_dropped_unless_there_are_no_others(tmp_path):
    for folder, names in (("some", ["logits", "onnx::Shape_622", "650"]), ("none", ["650"])):
        nodes = [onnx.helper.make_node("Identity", ["x"], [name]) for name in names]
        values = [onnx.helper.make_tensor_value_info(name, 1, [2]) for name in ("x", *names)]
        graph = onnx.helper.make_graph(nodes, "g", values[:1], values[1:])
        (tmp_path / folder).mkdir()
        onnx.save(onnx.helper.make_model(graph), tmp_path / folder / "model.onnx")
        drop_unnamed_outputs(tmp_path / folder)
    left = [
        [one.name for one in onnx.load(tmp_path / folder / "model.onnx").graph.output] for folder in ("some", "none")
    ]
    assert left == [["logits"], ["650"]]
