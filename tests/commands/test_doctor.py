import json
import os
import sys
from pathlib import Path

import devices_here
import pytest

from onnxbuild.commands.doctor import as_json, as_text, doctor, extras_of, needs_of
from onnxbuild.machine import Machine
from onnxbuild.runners.programs import program_version
from onnxbuild.steps import KINDS, kinds_at

MACHINE = Machine(cpu="Toy 1", architecture="x86_64", flags=("avx2", "avx512f"), cores=4)
ANSWER = (sys.executable, "-c", 'print(\'{"providers": ["CPUExecutionProvider"]}\')')


@pytest.fixture(autouse=True)
def plain(tmp_path):
    """An environment of which a key knows everything."""
    program_version.cache_clear()
    packages = tmp_path / "env" / "lib" / "python3.11" / "site-packages"
    packages.mkdir(parents=True)
    (tmp_path / "env" / "bin").mkdir()
    (tmp_path / "env" / "bin" / "python").touch()
    (tmp_path / "env" / "pyvenv.cfg").write_text("version = 3.11.7\n")
    return packages


def look(tmp_path, *, without=(), ask=ANSWER, environ=None):
    return doctor(
        Path(tmp_path) / "not" / "there",
        version=lambda name: None if name in without else "1.0",
        machine=MACHINE,
        environ=environ or {},
        ask=ask,
        python=str(tmp_path / "env" / "bin" / "python"),
    )


def test_all_is_there(tmp_path):
    report = look(tmp_path)
    assert (report.exit_code, report.missing, report.providers) == (0, {}, ("CPUExecutionProvider",))
    text = as_text(report)
    assert text.endswith("every step can run here")
    assert "cpu                    Toy 1, x86_64, 4 cores\n" in text
    assert "int8 preset            avx512\n" in text


def test_what_each_backend_can_do(tmp_path):
    assert look(tmp_path).backends["openvino"] == "compiles and runs"
    report = look(tmp_path, without=("openvino",))
    words = "prepares: `openvino` is not here, so nothing is compiled or run"
    assert (report.backends["openvino"], report.exit_code) == (words, 0)
    assert f"compile openvino       {words}\n" in as_text(report)


def test_the_settings_of_a_backend_that_need_more(tmp_path):
    words = "compiles and runs; `quantize` and `weights` need `nncf`, which is not here"
    assert look(tmp_path, without=("nncf",)).backends["openvino"] == words


def test_a_gpu_without_the_library_of_its_compiler(tmp_path, monkeypatch):
    devices_here.nvidia(monkeypatch)
    monkeypatch.setattr("onnxbuild.needs.step_needs.has_library", lambda _name: False)
    backends = look(tmp_path).backends
    assert backends["tensorrt"] == "prepares: `libnvinfer.so` is not here, so nothing is compiled or run"
    assert backends["cuda"] == "compiles and runs"


def test_a_host_double_needs_no_compiler(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    words = "prepares: `qaic-compile` is not here, so nothing is compiled; a host double runs the graph"
    assert look(tmp_path).backends["qaic"] == words
    lacking = "; `producer: qefficient` needs `QEfficient`, which is not here"
    assert look(tmp_path, without=("QEfficient",)).backends["qaic"] == words + lacking


def test_a_device_takes_the_place_of_a_host_double(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    write_program(tmp_path / "qaic-compile")
    words = "compiles; `qaic-util` is not here, so a host double runs the graph, and no device does"
    assert look(tmp_path).backends["qaic"] == words
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin")
    devices_here.card_tool(tmp_path)
    assert look(tmp_path).backends["qaic"] == "compiles and runs"
    devices_here.card_tool(tmp_path, "QID 0\n\tStatus:Error\n")
    words = "compiles; `qaic-util -q` finds no card that is ready (0: Error), so a host double runs the graph, and no"
    assert look(tmp_path).backends["qaic"] == f"{words} device does"


def write_program(place):
    place.write_text("#!/bin/sh\n")
    place.chmod(0o755)


def test_a_backend_of_a_plugin_is_among_them(tmp_path, monkeypatch):
    plugin = Path(__file__).parents[1] / "plugin"
    monkeypatch.syspath_prepend(str(plugin))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("onnxbuild.commands.doctor.all_kinds", lambda: kinds_at((("chip", "toy_steps.chips:CHIP"),)))
    assert look(tmp_path).backends["chip"] == "prepares: `chipc` is not here, so nothing is compiled or run"


def test_what_is_missing_for_which_step_and_how_to_get_it(tmp_path):
    report = look(tmp_path, without=("onnx-ir", "torch"))
    assert report.exit_code == 1
    assert as_text(report).split("\n\n")[1] == (
        "fetch cannot run: torch not installed\n"
        "export cannot run: torch not installed\n"
        "quantize cannot run: onnx-ir not installed\n"
        "validate cannot run: torch not installed\n"
        "benchmark cannot run: torch not installed\n"
        "generate cannot run: torch not installed\n"
        "compile-qaic cannot run: torch not installed\n"
        '  = hint: pip install "onnxbuild[optimum]"'
    )


def test_an_onnxruntime_that_does_not_start_is_a_finding(tmp_path):
    crash = (sys.executable, "-c", "raise ImportError('libfoo.so: cannot open shared object file')")
    report = look(tmp_path, ask=crash)
    assert report.exit_code == 1
    assert as_text(report).endswith(
        "onnxruntime does not start: ImportError: libfoo.so: cannot open shared object file"
    )


def test_an_onnxruntime_that_is_not_there_is_not_asked(tmp_path):
    report = look(tmp_path, without=("onnxruntime",), ask=("/no/such/interpreter",))
    assert (report.providers, report.provider_problem) == ((), None)


def test_an_answer_that_is_none(tmp_path):
    assert look(tmp_path, ask=(sys.executable, "-c", "print('hello')")).provider_problem == "its answer cannot be read"


def test_the_hub_settings_are_shown(tmp_path):
    report = look(tmp_path, environ={"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "https://hub.example"})
    assert "model hub              https://hub.example, offline (HF_HUB_OFFLINE)\n" in as_text(report)


def test_json_says_the_same(tmp_path):
    found = json.loads(as_json(look(tmp_path, without=("torch",))))
    assert (found["int8_preset"], found["packages"]["torch"], found["missing"]["fetch"]) == ("avx512", None, ["torch"])


def test_what_a_step_needs_is_what_its_kind_declares():
    needs = needs_of(KINDS)
    assert list(needs) == list(KINDS)
    assert needs["quantize"] == ("onnxruntime", "onnx", "onnx-ir")
    assert {"optimum", "optimum-onnx"} <= set(needs["export"])
    assert "sentence-transformers" not in needs["validate"]


def test_what_no_key_contains_is_named(tmp_path, plain, monkeypatch):
    monkeypatch.setattr("site.ENABLE_USER_SITE", False)
    assert "in no key" not in as_text(look(tmp_path))
    (plain / "hook.pth").write_text("import sys; sys.path.append('/opt/more')\n")
    (plain / "paths.pth").write_text("/opt\n")
    (plain / "sitecustomize.py").write_text("")
    for version in ("1.0", "2.0"):
        (plain / f"twice-{version}.dist-info").mkdir()
        (plain / f"twice-{version}.dist-info" / "METADATA").write_text(f"Name: twice\nVersion: {version}\n")
    report = look(tmp_path, environ={"PYTHONHOME": "/opt/mine", "PYTHONSTARTUP": "", "HOME": "/root"})
    assert report.exit_code == 0
    assert as_text(report).split("\n\n")[1] == (
        "in no key:\n"
        f"  {plain / 'hook.pth'} runs code whenever Python starts, and may add packages\n"
        f"  {plain / 'sitecustomize.py'} runs code whenever Python starts, and may add packages\n"
        "  twice is installed as 1.0 and as 2.0 in one folder: reinstall it\n"
        "  PYTHONHOME is set: the interpreters of toolchains do not see it"
    )
    assert len(json.loads(as_json(report))["unseen"]) == 4


def test_what_confines_somebody_elses_code(tmp_path, monkeypatch):
    monkeypatch.setattr("onnxbuild.confinement.landlock.abi", lambda: 4)
    monkeypatch.setattr("onnxbuild.confinement.seccomp.is_available", lambda: False)
    assert look(tmp_path).confinement == "Landlock 4, without UDP, signals"
    monkeypatch.setattr("onnxbuild.confinement.seccomp.is_available", lambda: True)
    assert look(tmp_path).confinement == "Landlock 4 and seccomp, without signals"
    assert look(tmp_path, environ={"ONNXBUILD_CONFINE": "off"}).confinement == "switched off by ONNXBUILD_CONFINE"
    monkeypatch.setattr("onnxbuild.confinement.landlock.abi", lambda: 0)
    report = look(tmp_path)
    assert report.confinement.startswith("none: this system has no Landlock")
    assert f"confinement            {report.confinement}\n" in as_text(report)


def test_folders_of_pythonpath_are_shown_with_who_gets_them(tmp_path):
    note = "(workers of this interpreter import from absolute folders in it, those of toolchains from none)"
    text = as_text(look(tmp_path, environ={"PYTHONPATH": f"{tmp_path}{os.pathsep}relative"}))
    assert f"pythonpath             {tmp_path} {note}\n" in text
    assert look(tmp_path, environ={"PYTHONPATH": "relative"}).python_path == f"no absolute folder {note}"
    assert "\npythonpath " not in as_text(look(tmp_path))


def test_the_versions_of_what_the_extras_install(tmp_path):
    report = look(tmp_path, without=("nncf",))
    assert report.extras["openvino"] == ("nncf", "openvino")
    assert {"optimum", "adapters", "timm", "metrics", "serve", "remote", "signing"} <= report.extras.keys()
    assert not {"test", "dev"} & report.extras.keys()
    assert json.loads(as_json(report))["packages"]["openvino"] == "1.0"
    assert "\nextra openvino         nncf not installed, openvino 1.0\n" in as_text(report)
    assert report.exit_code == 0


def test_the_extras_of_requirements():
    requirements = (
        "rich>=14", "peft<1,>=0.17; extra == 'adapters'", "Jinja2>=3.1; extra == 'report'",
        "jinja2>=3.1; extra == 'serve'", "uvloop>=0.21; (sys_platform == 'never') and extra == 'serve'",
        "tomli; python_version >= '3'", "pytest; extra == 'test'", "onnxbuild[report]; extra == 'all'",
    )  # fmt: skip
    assert extras_of(requirements) == {"adapters": ("peft",), "report": ("jinja2",), "serve": ("jinja2",)}
