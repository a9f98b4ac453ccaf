"""Which files make up a checkpoint: if it has its own code, also everything that the code may import."""

from onnxbuild.tables.checkpoint_files import (
    companions,
    has_old_layout,
    has_processor,
    select_checkpoint,
    select_onnx,
)

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
    assert (has_old_layout(inner), has_processor(inner)) == (True, True)
    assert select_checkpoint([*inner, "1_Pooling/config.json"]) == ()
    assert not has_old_layout([*inner, "config.json"])
