"""OB340: what a run needs and this environment lacks, with a fake look-up of versions."""

import pytest

from onnxbuild.machine import Machine
from onnxbuild.manifest.load import load_manifest
from onnxbuild.planning.expand import survey
from onnxbuild.planning.locked import Lock
from onnxbuild.rules import World, check, installed_rules
from onnxbuild.rules.installed import installed_version
from onnxbuild.steps import KINDS

MACHINE = Machine(cpu="a cpu", architecture="x86_64", flags=("avx2",), cores=2)
MANIFEST = """\
onnxbuild: 1
targets: {fp32: {}, int8: {quantize: int8}}
toolchains: {tf5: {python: tf5/bin/python}}
models:
  m: {source: "random:bert", task: fill-mask, targets: [fp32, int8]%s}
"""


@pytest.fixture
def warnings(tmp_path, monkeypatch):
    monkeypatch.setattr("onnxbuild.planning.expand.known_versions", lambda *_: {})  # as in a core-only installation

    def run(text, installed):
        (tmp_path / "m.yaml").write_text(text)
        manifest = load_manifest(tmp_path / "m.yaml", kinds=KINDS)
        expansion = survey(manifest, KINDS, Lock(), MACHINE)
        world = World(manifest=manifest, lock=Lock(), expansion=expansion, installed=installed)
        return [one for one in check(world) if one.code == "OB340"]

    return run


def test_a_core_only_installation_learns_what_to_install(warnings):
    (warning,) = warnings(MANIFEST % "", lambda _name: None)
    assert (warning.severity, warning.span.line, warning.span.column) == ("warning", 5, 3)
    assert warning.message == (
        "not installed in this environment: `transformers`, `torch`, `tokenizers`, `optimum` and 4 more"
    )
    assert warning.notes == (("hint", "`pip install '.[optimum]'` installs what a run needs"),)


def test_only_what_is_missing_is_named(warnings):
    (warning,) = warnings(
        MANIFEST % "", {"torch": "2.9", "optimum": "2.1", "transformers": "4.57", "tokenizers": "0.22"}.get
    )
    assert warning.message == "not installed in this environment: `optimum-onnx`, `onnx`, `onnxruntime`, `onnx-ir`"


def test_an_exporter_has_its_own_extra(warnings):
    versions = {"torch": "2.11", "transformers": "5.23.0", "tokenizers": "0.23", "onnx": "1.19", "onnx-ir": "0.1"}
    (warning,) = warnings(MANIFEST % ", export: {exporter: transformers}", versions.get)
    assert warning.message == "not installed in this environment: `onnxscript`, `onnxruntime`"
    assert "'.[transformers]'" in warning.notes[0][1]


@pytest.mark.parametrize(("where", "package", "extra"), [
    ("oci: 'registry.example/me/m:1'", "oras", "oci"),
    ("s3: 's3://models/m'", "s3fs", "remote"),
])  # fmt: skip
def test_what_a_destination_needs_has_an_extra_of_its_own(warnings, where, package, extra):
    text = MANIFEST % f", license: mit, package: plain, publish: {{{where}}}"
    (warning,) = warnings(text, lambda name: None if name == package else "99.0")
    assert warning.message == f"not installed in this environment: `{package}`"
    assert f"'.[{extra}]'" in warning.notes[0][1]


def test_outside_a_clone_the_package_is_named(warnings, tmp_path, monkeypatch):
    monkeypatch.setattr(installed_rules, "__file__", str(tmp_path / "site-packages" / "onnxbuild" / "rules" / "x.py"))
    (warning,) = warnings(MANIFEST % "", lambda _name: None)
    assert "`pip install 'onnxbuild[optimum]'`" in warning.notes[0][1]


def test_a_toolchain_brings_its_own_packages(warnings):
    assert warnings(MANIFEST % ", toolchain: tf5", lambda _name: None) == []


def test_a_full_installation_has_no_warning(warnings):
    assert warnings(MANIFEST % "", lambda name: None if name == "sentence-transformers" else "1.0") == []


def test_the_version_of_a_distribution():
    assert (installed_version("onnxbuild-has-no-such-package"), bool(installed_version("msgspec"))) == (None, True)


def test_what_no_extra_has_is_said_to_come_from_elsewhere(warnings):
    text = MANIFEST.replace("int8: {quantize: int8}", "int8: {compile: {backend: qaic, producer: qefficient}}")
    text = text.replace("random:bert", "random:gpt2").replace("fill-mask", "text-generation")
    (warning,) = warnings(text % "", lambda name: None if name == "QEfficient" else "1")
    assert warning.message == "not installed in this environment: `QEfficient`"
    assert warning.notes[0][1].startswith("`QEfficient` is not on PyPI")
