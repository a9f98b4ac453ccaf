"""OB051 reads the receipts of other manifests, which may be damaged."""

import pytest

from onnxbuild.commands.lint import lint
from onnxbuild.machine import Machine
from onnxbuild.steps import KINDS

MACHINE = Machine(cpu="a cpu", architecture="x86_64", flags=(), cores=2)
MANIFEST = 'onnxbuild: 1\ntargets: {t: {}}\nmodels: {m: {source: "random:bert", task: fill-mask, targets: [t]}}\n'
DAMAGED = [
    "", "{", '{"question":', '{"question":[7]}', '{"question":{"manifest":7}}', '{"question":{"manifest":""}}',
    '{"question":{"manifest":"a\\u0000b"}}', '{"question":{"manifest":["other.yaml"]}}',
]  # fmt: skip


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_receipt_says_nothing(tmp_path, text):
    receipts = tmp_path / ".onnxbuild" / "receipts"
    receipts.mkdir(parents=True)
    for name in ("m.yaml", "other.yaml"):
        (tmp_path / name).write_text(MANIFEST)
    (receipts / "damaged").write_text(text)
    (receipts / "whole").write_text('{"question":{"manifest":"/elsewhere/other.yaml"}}')
    codes = [one.code for one in lint(str(tmp_path / "m.yaml"), MACHINE, kinds=KINDS)]
    assert codes.count("OB051") == 1


@pytest.mark.parametrize("package", ["plain", "[plain]", "{plain: {client: false}}", "{plain: false}"])
def test_a_package_of_other_targets_shares_the_folder_of_the_package(tmp_path, package):
    receipts = tmp_path / ".onnxbuild" / "receipts"
    receipts.mkdir(parents=True)
    (tmp_path / "m.yaml").write_text(MANIFEST.replace("targets: [t]", "targets: [t], package: plain"))
    other = MANIFEST.replace("{t: {}}", "{u: {}}").replace("targets: [t]", f"targets: [u], package: {package}")
    (tmp_path / "other.yaml").write_text(other)
    (receipts / "whole").write_text('{"question":{"manifest":"/elsewhere/other.yaml"}}')
    messages = [one.message for one in lint(str(tmp_path / "m.yaml"), MACHINE, kinds=KINDS) if one.code == "OB051"]
    expected = "`{}` was built here and writes the folder `out/m/packages/plain` too"
    assert messages == ([] if package == "{plain: false}" else [expected.format(tmp_path / "other.yaml")])
