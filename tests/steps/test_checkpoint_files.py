"""Which files make up a checkpoint: if it has its own code, also everything that the code may import."""

from onnxbuild.tables.checkpoint_files import companions, select_checkpoint, select_onnx

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
