import json
import subprocess
import sys

import pytest

from onnxbuild.commands.lint import run_lint

GOOD = "onnxbuild: 1\ntargets: {fp32: {}}\nmodels: {m: {source: random:bert, task: fill-mask, targets: [fp32]}}\n"
# Each names its model differently: lint warns of manifests in one folder that write the same out/ folder.
WARNS = GOOD.replace("random:bert", "'hub:o/m'").replace("{m:", "{w:")
BAD = GOOD.replace("onnxbuild: 1", "onnxbuild: 1\nmodles: {}").replace("{m:", "{b:")


@pytest.fixture
def lint(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, text in {"good": GOOD, "warns": WARNS, "bad": BAD}.items():
        (tmp_path / f"{name}.yaml").write_text(text)

    def run(*names, **more):
        code = run_lint([f"{name}.yaml" for name in names], **more)
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_no_faults(lint):
    assert lint("good", "good") == (0, "", "no faults in 2 manifests\n")


def test_warnings_are_errors_when_strict(lint):
    code, out, err = lint("warns")
    assert (code, out.splitlines()[0], err) == (
        0,
        "OB101 warning: `hub:o/m` is not pinned: `main` may move",
        "1 warning in 1 manifest\n",
    )
    assert lint("warns", strict=True)[0] == 1


def test_errors(lint):
    code, out, err = lint("bad", "warns", "nowhere")
    assert (code, err) == (2, "2 errors, 1 warning in 3 manifests\n")
    assert [line for line in out.splitlines() if line.startswith("OB")] == [
        "OB001 unknown key `modles`",
        "OB101 warning: `hub:o/m` is not pinned: `main` may move",
        "OB016 `nowhere.yaml` does not exist",
    ]
    assert lint("bad", "warns", strict=True)[0] == 2


def test_selectors(lint):
    assert lint("good", selectors=["m/fp32"])[0] == 0
    assert lint("good", selectors=["m/int8"])[:2] == (
        2,
        "OB018 the selector `m/int8` matches nothing\n  = hint: `m` has `fp32`\n",
    )


def test_json(lint):
    code, out, _ = lint("bad", format="json")
    assert (code, [one["code"] for one in json.loads(out)]) == (2, ["OB001"])


def test_it_imports_nothing_heavy(tmp_path):
    (tmp_path / "m.yaml").write_text(GOOD)
    code = (
        "import sys; from onnxbuild.commands.lint import run_lint; assert run_lint([sys.argv[1]]) == 0;"
        "print(sorted({'jsonschema', 'networkx', 'torch', 'onnx', 'numpy', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "m.yaml")], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
