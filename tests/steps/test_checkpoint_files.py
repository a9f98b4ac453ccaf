"""Which files make up a checkpoint: if it has its own code, also everything that the code may import."""

import pytest

from onnxbuild.tables.architectures import infer_task
from onnxbuild.tables.checkpoint_files import (
    companions,
    has_processor,
    old_folder,
    select_checkpoint,
    select_onnx,
)
from onnxbuild.tables.checkpoints.other_libraries import described

WEIGHTS = ["config.json", "model.safetensors"]


def test_code_brings_what_it_imports():
    assert select_checkpoint([*WEIGHTS, "modeling_mine.py", "rotary.py", "tests/rotary.py", "README.md"]) == (
        "config.json",
        "model.safetensors",
        "modeling_mine.py",
        "rotary.py",
    )


def test_a_script_beside_weights_is_no_part_of_them():
    assert select_checkpoint([*WEIGHTS, "handler.py", "convert.py"]) == ("config.json", "model.safetensors")
    assert companions(["__init__.py", "config.json"]) == ["config.json"]


def test_an_onnx_model_keeps_the_code_of_its_tokenizer():
    names = ["model.onnx", "config.json", "tokenization_mine.py", "helpers.py"]
    assert select_onnx(names) == tuple(sorted(names))


def test_an_old_sentence_transformer_has_its_model_in_a_folder():
    inner = ["0_Transformer/config.json", "0_Transformer/model.safetensors", "0_Transformer/tokenizer.json"]
    noise = ["0_Transformer/pytorch_model.bin", "0_Transformer/README.md", "README.md"]
    top = ["1_Pooling/config.json", "modules.json"]
    assert select_checkpoint([*inner, *top, *noise]) == tuple(sorted([*inner, *top]))
    assert (old_folder(inner), has_processor(inner)) == ("0_Transformer", True)
    assert select_checkpoint([*inner, "1_Pooling/config.json"]) == ()
    assert old_folder([*inner, "config.json"]) is None


def test_a_static_embedding_has_its_model_in_a_folder_or_at_the_top():
    inner = ["0_StaticEmbedding/model.safetensors", "0_StaticEmbedding/tokenizer.json"]
    top = ["1_Normalize/config.json", "config_sentence_transformers.json", "modules.json"]
    noise = ["0_StaticEmbedding/README.md", "README.md"]
    assert select_checkpoint([*inner, *top, *noise]) == tuple(sorted([*inner, *top]))
    assert (old_folder([*inner, *top]), has_processor(inner)) == ("0_StaticEmbedding", True)
    assert select_checkpoint(inner) == ()
    at_the_top = ["model.safetensors", "modules.json", "tokenizer.json"]
    assert (select_checkpoint(at_the_top), old_folder(at_the_top)) == (tuple(at_the_top), None)


STATIC = ("model.safetensors", "modules.json", "tokenizer.json")
CUT = {"input_size": [3, 64, 64]}


@pytest.mark.parametrize(
    ("config", "files", "model_type"),
    [
        (None, STATIC, "static_embedding"),
        (None, ("modules.json", "0_StaticEmbedding/pytorch_model.bin", "0_StaticEmbedding/tokenizer.json"),
         "static_embedding"),
        ({"model_type": "model2vec", "architectures": ["StaticModel"]}, STATIC, "static_embedding"),
        ({"model_type": "bert"}, (*STATIC, "config.json"), "bert"),
        (None, ("model.safetensors", "modules.json"), None),  # words
        (None, ("model.safetensors", "tokenizer.json"), None),
        ({"architecture": "resnet18", "pretrained_cfg": CUT}, ("config.json", "model.safetensors"), "timm_wrapper"),
        ({"architecture": "resnet18", **CUT}, ("config.json", "model.safetensors"), "timm_wrapper"),
        ({"architecture": "resnet18", "model_type": "timm_wrapper"}, ("config.json",), "timm_wrapper"),
        ({"architecture": "mine", "model_type": "bert"}, ("config.json",), "bert"),
    ],
)  # fmt: skip
def test_the_model_type_of_another_library(config, files, model_type):
    assert (described(config, files) or {}).get("model_type") == model_type


@pytest.mark.parametrize(
    ("config", "task"),
    [
        ({"num_classes": 7, "pretrained_cfg": {"num_classes": 0}}, "image-classification"),
        ({"num_classes": 0, "pretrained_cfg": {"num_classes": 7}}, "feature-extraction"),
        ({"pretrained_cfg": {"num_classes": 0}}, "feature-extraction"),
        ({"pretrained_cfg": CUT}, "image-classification"),
    ],
)
def test_the_task_of_timms_checkpoints(config, task):
    """The number at the top counts, as it does in timm."""
    assert infer_task(described({"architecture": "resnet18", **config}, ()), {}) == task


def test_the_task_of_a_static_embedding():
    assert infer_task(described({"architectures": ["StaticModel"]}, STATIC), {}) == "feature-extraction"
