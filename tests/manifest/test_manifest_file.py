"""A path that is not a manifest gets advice: what it is instead, and what to write."""

import pytest

from onnxbuild.diagnostics import DiagnosticError
from onnxbuild.manifest.load import load_manifest
from onnxbuild.steps import KINDS


@pytest.fixture
def advice(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(path, *files):
        for name in files:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(
                b"\x08\xff" if name.endswith((".onnx", ".safetensors")) else b"onnxbuild: 1\n"
            )
        with pytest.raises(DiagnosticError) as raised:
            load_manifest(path, kinds=KINDS)
        (fault,) = raised.value.diagnostics
        return f"{fault.code} {fault.message}", dict(fault.notes).get("hint")

    return run


def test_the_other_suffix(advice):
    assert advice("sub/m.yaml", "sub/m.yml", "sub/n.yaml") == (
        "OB016 `sub/m.yaml` does not exist",
        "did you mean `sub/m.yml`?",
    )
    assert advice("n.yml", "n.yaml") == ("OB016 `n.yml` does not exist", "did you mean `n.yaml`?")


def test_a_misspelt_name(advice):
    assert advice("modles.yaml", "models.yaml", "other.yaml")[1] == "did you mean `models.yaml`?"
    assert advice("zzz.yaml", "models.yaml")[1] is None


def test_a_path_from_the_folder_above(advice, tmp_path, monkeypatch):
    assert advice("tiny/m.yaml", "m.yaml")[1] == "did you mean `m.yaml`?"
    assert advice("a/tiny/m.yaml", "tiny/m.yaml", "tiny/n.yaml")[1] == "did you mean `tiny/m.yaml`?"
    assert advice("tiny/o.yaml", "m.yaml")[1] is None


def test_a_selector_before_the_manifest(advice):
    hint = "the manifest, a YAML file, comes first; selectors come after it"
    assert advice("minilm", "quickstart.yaml") == ("OB016 `minilm` does not exist", hint)


def test_a_folder(advice):
    message = "OB016 `sub` is a folder, and a manifest is a file"
    assert advice("sub", "sub/b.yml", "sub/a.yaml") == (message, "name a file in it: `sub/a.yaml`, `sub/b.yml`")
    assert advice("sub", *(f"sub/{one}.yaml" for one in "cdefg"))[1].endswith("`sub/c.yaml`, `sub/d.yaml` …")


def test_a_folder_without_a_manifest(advice):
    assert advice("empty", "empty/notes.txt")[1] == "name a YAML file that begins with `onnxbuild: 1`"
    assert '{source: "local:model", targets: [int8]}' in advice("model", "model/config.json")[1]
    assert '{source: "onnx:exported", targets: [int8]}' in advice("exported", "exported/model.onnx")[1]


def test_a_model_in_place_of_the_manifest(advice, tmp_path):
    message, hint = advice("my net (1).onnx", "my net (1).onnx")
    assert message == "OB050 `my net (1).onnx` is a model: a manifest is a YAML file that names it"
    first, *lines = hint.split("\n")
    assert first == "write this to a file such as `models.yaml`:"
    (tmp_path / "models.yaml").write_text("\n".join(line.removeprefix("  ") for line in lines))
    (model,) = load_manifest("models.yaml", kinds=KINDS).models
    assert (model.name, model.source, model.targets[0].name) == ("my-net-1", "onnx:my net (1).onnx", "int8")


def test_weights_in_place_of_the_manifest(advice):
    assert '"local:bert"' in advice("bert/model.safetensors", "bert/model.safetensors")[1]
