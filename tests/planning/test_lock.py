import json
import os

import pytest

from onnxbuild.commands.lock import run_lock
from onnxbuild.diagnostics import DiagnosticError, fault
from onnxbuild.manifest.load import load_manifest
from onnxbuild.planning.lock_file import (
    hub_key,
    hub_name,
    hub_uses,
    is_hub_name,
    lock_for,
    read_lock,
    update_lock,
    write_lock,
)
from onnxbuild.planning.locked import Lock, LockedSource
from onnxbuild.planning.pinned import lock_checks
from onnxbuild.planning.toolchains import LockedPackage, LockedToolchain
from onnxbuild.steps import KINDS

TEXT = """onnxbuild: 1
targets: {fp32: {}}
models:
  a: {source: 'hub:o/a', task: fill-mask, targets: [fp32]}
  b: {source: 'hub:o/b@v1', task: fill-mask, targets: [fp32]}
  again: {source: 'hub:o/a@main', task: fill-mask, targets: [fp32]}
  local: {source: random:bert, task: fill-mask, targets: [fp32]}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.yaml").write_text(TEXT)
    return tmp_path


def commit(letter, moved=0):
    return f"{letter}{moved}".ljust(40, "0")


class Resolver:
    def __init__(self):
        self.asked, self.moved = [], 0

    def __call__(self, repo, revision):
        self.asked.append((repo, revision))
        if repo == "o/gone":
            raise DiagnosticError(fault("OB110", f"no {repo}"))
        return LockedSource(commit(repo[-1], self.moved), ("config.json", "model.safetensors"), {"model_type": "bert"})


def manifest():
    return load_manifest("m.yaml", kinds=KINDS)


def codes(error):
    return [(one.code, one.message, str(one.span)) for one in error.value.diagnostics]


def test_it_is_written_at_first_need(folder):
    resolve = Resolver()
    lock = lock_for(manifest(), resolve=resolve)
    assert resolve.asked == [("o/a", "main"), ("o/b", "v1")]
    assert read_lock(folder / "onnxbuild.lock") == lock
    assert lock_for(manifest(), resolve=None) == lock
    assert lock_for(manifest(), offline=True) == lock


def test_its_text(folder):
    lock_for(manifest(), resolve=Resolver())
    assert (folder / "onnxbuild.lock").read_text() == (
        '{\n "sources": {\n  "hub:o/a@main": {\n   "commit": "'
        + commit("a")
        + '",\n   "config": {\n    "model_type": "bert"\n   },\n'
        '   "files": [\n    "config.json",\n    "model.safetensors"\n   ]\n  },\n'
        '  "hub:o/b@v1": {\n   "commit": "' + commit("b") + '",\n   "config": {\n    "model_type": "bert"\n   },\n'
        '   "files": [\n    "config.json",\n    "model.safetensors"\n   ]\n  }\n },\n "version": 1\n}\n'
    )
    assert sorted(path.name for path in folder.iterdir()) == ["m.yaml", "onnxbuild.lock"]


def test_offline(folder):
    with pytest.raises(DiagnosticError) as raised:
        lock_for(manifest(), offline=True)
    assert codes(raised) == [
        ("OB111", "`hub:o/a` is not in `onnxbuild.lock`, and --offline allows no network", "m.yaml:4:15"),
        ("OB111", "`hub:o/b@v1` is not in `onnxbuild.lock`, and --offline allows no network", "m.yaml:5:15"),
        ("OB111", "`hub:o/a@main` is not in `onnxbuild.lock`, and --offline allows no network", "m.yaml:6:19"),
    ]


def test_a_plan_asks_nobody(folder):
    assert lock_for(manifest(), write=False, resolve=None) == Lock()
    assert not (folder / "onnxbuild.lock").exists()


def test_what_cannot_be_resolved_has_its_place_and_nothing_is_written(folder):
    (folder / "m.yaml").write_text(TEXT + "  gone: {source: 'hub:o/gone', task: fill-mask, targets: [fp32]}\n")
    with pytest.raises(DiagnosticError) as raised:
        lock_for(manifest(), resolve=Resolver())
    assert codes(raised) == [("OB110", "no o/gone", "m.yaml:8:18")]
    assert not (folder / "onnxbuild.lock").exists()


def test_the_command(folder, capsys):
    resolve = Resolver()
    assert run_lock("m.yaml", resolve=resolve) == 0
    assert capsys.readouterr() == (
        f"hub:o/a@main is {commit('a')}\nhub:o/b@v1 is {commit('b')}\n",
        "onnxbuild.lock: 2 sources pinned\n",
    )
    resolve.moved = 1
    assert run_lock("m.yaml", resolve=resolve) == 0
    assert capsys.readouterr().out == ""
    assert run_lock("m.yaml", upgrade=["a"], resolve=resolve) == 0
    assert capsys.readouterr().out == f"hub:o/a@main moved: {commit('a')} → {commit('a', 1)}\n"
    assert run_lock("m.yaml", upgrade=[], resolve=resolve) == 0
    assert capsys.readouterr().out == f"hub:o/b@v1 moved: {commit('b')} → {commit('b', 1)}\n"


def test_upgrading_an_unknown_model(folder):
    with pytest.raises(DiagnosticError) as raised:
        run_lock("m.yaml", upgrade=["agian"], resolve=Resolver())
    assert codes(raised) == [("OB018", "`--upgrade agian` names no model and no dataset", "None")]


def test_entries_of_other_manifests_stay(folder):
    write_lock(folder / "onnxbuild.lock", Lock(sources={"hub:z/z@main": LockedSource(commit("f"))}))
    assert set(lock_for(manifest(), resolve=Resolver()).sources) == {"hub:z/z@main", "hub:o/a@main", "hub:o/b@v1"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<<<<<<< ours\n", "JSON is malformed: invalid character (byte 0)"),
        ('{"version": 2}', "version 2, expected 1"),
        ('{"sources": {"a": {}}}', "missing required field `commit`"),
    ],
)
def test_a_damaged_file(folder, text, reason):
    (folder / "onnxbuild.lock").write_text(text)
    with pytest.raises(DiagnosticError) as raised:
        lock_for(manifest())
    assert raised.value.diagnostics[0].code == "OB031"
    assert reason in raised.value.diagnostics[0].message


SOUND = {
    "version": 1,
    "sources": {"hub:o/a@main": {"commit": "a" * 40, "files": ["config.json", "onnx/model.onnx"]}},
    "toolchains": {
        "cpython-3.11 linux-x86_64: torch": {"packages": [{"name": "torch", "version": "2.13.0", "sha256": "b" * 64}]}
    },
}


def damaged(old, new):
    """The sound lock as a person sees it, with one text replaced."""
    text = json.dumps(SOUND, indent=1)
    assert text.count(json.dumps(old)) == 1
    return text.replace(json.dumps(old), json.dumps(new))


def test_the_lock_that_is_damaged_below_is_sound(folder):
    (folder / "onnxbuild.lock").write_text(json.dumps(SOUND, indent=1))
    assert read_lock(folder / "onnxbuild.lock").toolchains.popitem()[1].version("torch") == "2.13.0"


COMMIT = "the commit of a source"
NAME = "the name of a package"
VERSION = "the version of a package"
HASH = "the hash of a package"
FILE = "the name of a file"
KEY = "cpython-3.11 linux-x86_64: torch"


@pytest.mark.parametrize(
    ("old", "new", "message", "place"),
    [
        ("a" * 40, "main", f"{COMMIT} is `main`, expected 40 hexadecimal digits", "5:14"),
        ("a" * 40, "A" * 40, f"{COMMIT} is `{'A' * 40}`, expected 40 hexadecimal digits", "5:14"),
        ("a" * 40, "a" * 40 + "\n", f"{COMMIT} is `{'a' * 40}\\n`, expected 40 hexadecimal digits", "5:14"),
        ("a" * 40, "", f"{COMMIT} is empty", "5:14"),
        ("config.json", "/etc/passwd", f"{FILE} is `/etc/passwd`, expected a path that stays below its folder", "7:5"),
        ("config.json", "a/../../b", f"{FILE} is `a/../../b`, expected a path that stays below its folder", "7:5"),
        ("config.json", "C:b", f"{FILE} is `C:b`, expected a path that stays below its folder", "7:5"),
        ("config.json", "..\\b", f"{FILE} is `..\\b`, expected a path that stays below its folder", "7:5"),
        ("config.json", "a\x1b[2J", f"{FILE} is `a\\x1b[2J`, expected a path that stays below its folder", "7:5"),
        ("torch", "--index-url=x", f"{NAME} is `--index-url=x`, expected letters, digits, `.`, `_` and `-`", "16:14"),
        ("torch", "torch @ file:x", f"{NAME} is `torch @ file:x`, expected letters, digits, `.`, `_` and `-`", "16:14"),
        ("torch", "", f"{NAME} is empty", "16:14"),
        (
            "2.13.0",
            "2.13.0\n--index-url=https://evil.example",
            f"{VERSION} is `2.13.0\\n--index-url=https://evil.example`, expected a version such as `2.13.0`",
            "17:17",
        ),
        ("2.13.0", "2.13.0 --log=x", f"{VERSION} is `2.13.0 --log=x`, expected a version such as `2.13.0`", "17:17"),
        ("2.13.0", "", f"{VERSION} is empty", "17:17"),
        ("b" * 64, "", f"{HASH} is empty", "18:16"),
        ("b" * 64, "b" * 63, f"{HASH} is `{'b' * 63}`, expected 64 hexadecimal digits", "18:16"),
        ("b" * 64, "g" * 64, f"{HASH} is `{'g' * 64}`, expected 64 hexadecimal digits", "18:16"),
        (
            "hub:o/a@main",
            "hub:../a@main",
            "the name of a source is `hub:../a@main`, expected `hub:ORGANIZATION/NAME@REVISION`",
            "4:3",
        ),
        (
            KEY,
            "cpython-3.11 linux-x86_64: torch\n",
            f"the name of a toolchain is `{KEY}\\n`, expected a Python, a platform and requirements in one line",
            "13:3",
        ),
    ],
)
def test_a_field_that_is_not_what_it_must_be_is_refused_at_its_place(folder, old, new, message, place):
    path = folder / "onnxbuild.lock"
    path.write_text(damaged(old, new))
    with pytest.raises(DiagnosticError) as raised:
        read_lock(path)
    expected = [("OB031", f"`{path}`: {message}")]
    assert [(one.code, one.message) for one in raised.value.diagnostics] == expected
    assert str(raised.value.diagnostics[0].span) == f"{path}:{place}"


def test_a_package_that_stands_twice_is_refused(folder):
    lock = json.loads(json.dumps(SOUND))
    packages = lock["toolchains"][KEY]["packages"]
    packages.append({**packages[0], "name": "Torch", "version": "1.0"})
    (folder / "onnxbuild.lock").write_text(json.dumps(lock))
    with pytest.raises(DiagnosticError, match="the name of a package is `Torch`, expected each package once"):
        read_lock(folder / "onnxbuild.lock")


@pytest.mark.parametrize(
    ("locked", "message"),
    [
        (Lock(sources={"hub:o/a@main": LockedSource("main")}), "the commit of a source is `main`"),
        (
            Lock(toolchains={KEY: LockedToolchain((LockedPackage("torch", "2.13.0", ""),))}),
            "the hash of a package is empty",
        ),
    ],
)
def test_what_could_not_be_read_again_is_not_written(folder, locked, message):
    with pytest.raises(DiagnosticError, match=message):
        write_lock(folder / "onnxbuild.lock", locked)
    assert not (folder / "onnxbuild.lock").exists()


@pytest.mark.parametrize("version", ["2.13.0+cpu", "1!2.0.post1.dev3", "4.0.0rc1", "2024.1", "1.0-1", "v1.0.0-beta.2"])
def test_every_version_that_pip_may_report_is_accepted(folder, version):
    lock = Lock(toolchains={KEY: LockedToolchain((LockedPackage("torch", version, "b" * 64),))})
    write_lock(folder / "onnxbuild.lock", lock)
    assert read_lock(folder / "onnxbuild.lock") == lock


def test_a_lock_of_absurd_size_or_depth_is_refused(folder):
    path = folder / "onnxbuild.lock"
    config = "[" * 100_000 + "]" * 100_000
    path.write_text(f'{{"sources": {{"hub:o/a@main": {{"commit": "{"a" * 40}", "config": {{"x": {config}}}}}}}}}')
    with pytest.raises(DiagnosticError, match="nested too deeply"):
        read_lock(path)
    with path.open("wb") as file:
        file.truncate(3 << 30)  # a sparse file, which takes no space
    with pytest.raises(DiagnosticError, match="is larger than"):
        read_lock(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_a_lock_that_is_a_fifo_or_a_link_is_refused_instead_of_waited_for(folder):
    path = folder / "onnxbuild.lock"
    os.mkfifo(path)
    with pytest.raises(DiagnosticError, match="FIFO"):
        read_lock(path)
    path.unlink()
    (folder / "elsewhere").write_text(json.dumps(SOUND))
    path.symlink_to(folder / "elsewhere")
    with pytest.raises(DiagnosticError, match="symbolic link"):
        read_lock(path)


def test_of_two_toolchains_with_the_same_package_the_damaged_one_is_shown(folder):
    package = {"name": "torch", "version": "2.13.0", "sha256": "b" * 64}
    toolchains = {name: {"packages": [dict(package)]} for name in (KEY, f"{KEY} onnx")}
    toolchains[f"{KEY} onnx"]["packages"][0]["sha256"] = "b" * 63
    (folder / "onnxbuild.lock").write_text(json.dumps({"version": 1, "toolchains": toolchains}, indent=1))
    with pytest.raises(DiagnosticError) as raised:
        read_lock(folder / "onnxbuild.lock")
    span = raised.value.diagnostics[0].span
    assert (span.line, span.column, span.length) == (18, 16, 65)


@pytest.mark.parametrize(
    ("text", "is_one", "repo", "revision"),
    [
        ("o/m", True, "o/m", "main"),
        ("m", True, "m", "main"),
        ("o/m@v1", True, "o/m", "v1"),
        ("o/m@refs/pr/1", True, "o/m", "refs/pr/1"),
        ("o/m.x_y-z", True, "o/m.x_y-z", "main"),
        ("a/b/c", False, "a/b/c", "main"),
        ("-o/m", False, "-o/m", "main"),
        ("o/.m", False, "o/.m", "main"),
        ("o/m@", False, "o/m", "main"),
        ("o/m@a b", False, "o/m", "a b"),
        ("o/m@a@b", False, "o/m", "a@b"),
        ("o/m\n", False, "o/m\n", "main"),
        ("", False, "", "main"),
    ],
)
def test_the_names_of_the_hub(text, is_one, repo, revision):
    assert is_hub_name(text) is is_one
    assert hub_name(text) == hub_name(f"hub:{text}") == (repo, revision)
    assert hub_key(text) == f"hub:{repo}@{revision}"


def test_the_hints_of_what_is_missing_offline(folder):
    with pytest.raises(DiagnosticError) as raised:
        lock_for(manifest(), offline=True)
    hint = "`onnxbuild lock m.yaml` resolves it where the Hub can be reached"
    assert {one.notes for one in raised.value.diagnostics} == {(("hint", hint),)}
    with_toolchain = "toolchains: {t: {requirements: [a]}}\ndefaults: {toolchain: t}\n"
    (folder / "m.yaml").write_text(TEXT.replace("models:", f"{with_toolchain}models:"))
    with pytest.raises(DiagnosticError) as raised:
        lock_for(manifest(), offline=True)
    (found,) = raised.value.diagnostics  # what the sources of a missing toolchain lack is asked for later
    hint = "`onnxbuild lock m.yaml` resolves it where the package index can be reached"
    assert (found.code, found.notes) == ("OB049", (("hint", hint),))


def test_the_hints_of_a_lock_that_cannot_be_read(folder):
    path = folder / "onnxbuild.lock"
    merge = "after a merge, keep both sides' entries; or remove the file and run `onnxbuild lock`"
    for data, reason in (
        (b"<<<", "JSON is malformed: invalid character (byte 0)"),
        (b'{"sources": {"hub:o/a@\xff": {}}}', None),
        (b'{"sources": 1}', "Expected `object`, got `int` - at `$.sources`"),
        (b'{"other": 1}', "Object contains unknown field `other`"),
    ):
        path.write_bytes(data)
        with pytest.raises(DiagnosticError) as raised:
            read_lock(path)
        (found,) = raised.value.diagnostics
        assert found.message == f"`{path}` cannot be read: {reason}" or reason is None
        assert (found.code, found.notes) == ("OB031", (("hint", merge),))
    path.unlink()
    path.mkdir()
    with pytest.raises(DiagnosticError) as raised:
        read_lock(path)
    (found,) = raised.value.diagnostics
    hint = "it comes with the manifest: restore it, or remove it and run `onnxbuild lock`"
    assert (found.code, found.notes) == ("OB031", (("hint", hint),))
    assert read_lock(folder / "m.yaml" / "onnxbuild.lock") == Lock()


def test_a_damaged_lock_shows_a_hundred_faults_at_the_most(folder):
    path = folder / "onnxbuild.lock"
    for count in (100, 101):
        path.write_text(json.dumps({"sources": {f"hub:o/a{n}@main": {"commit": "x"} for n in range(count)}}))
        with pytest.raises(DiagnosticError) as raised:
            read_lock(path)
        assert len(raised.value.diagnostics) == 100
    assert raised.value.diagnostics[0].notes == (("hint", "remove the entry and run `onnxbuild lock`"),)


def test_a_lock_of_a_newer_version_is_refused(folder):
    path = folder / "onnxbuild.lock"
    path.write_text('{"version": 2}')
    with pytest.raises(DiagnosticError) as raised:
        read_lock(path)
    (newer,) = raised.value.diagnostics
    assert newer.message == f"`{path}` has version 2, expected 1"
    advice = "it was made by a newer onnxbuild: update onnxbuild, or remove the file and run `onnxbuild lock`"
    assert newer.notes == (("hint", advice),)


def test_an_answer_that_could_not_be_read_again_has_no_place(folder):
    with pytest.raises(DiagnosticError) as raised:
        write_lock(folder / "onnxbuild.lock", Lock(sources={"hub:o/a@main": LockedSource("main")}))
    (found,) = raised.value.diagnostics
    hint = "the answer of the Hub or of pip has another form; the lock file stays as it was"
    assert (found.span, found.notes) == (None, (("hint", hint),))


@pytest.mark.parametrize(
    ("name", "is_safe"),
    [("a", True), ("a/b.c", True), ("..a/b", True), ("", False), ("/a", False), ("a//b", False), ("a/", False),
     ("./a", False), ("a/..", False), ("a\\b", False), ("c:a", False), ("a\tb", False), ("é", True)],
)  # fmt: skip
def test_a_safe_path_stays_below_its_folder_on_every_system(name, is_safe):
    assert lock_checks.is_safe_path(name) is is_safe


def test_the_place_of_a_text_that_is_not_found_as_written_is_that_before_it(folder):
    path = folder / "onnxbuild.lock"
    text = json.dumps(SOUND, indent=1).replace('"config.json"', '"\\u002fx"')
    path.write_text(text)
    with pytest.raises(DiagnosticError) as raised:
        read_lock(path)
    (found,) = raised.value.diagnostics
    assert (found.span.line, found.span.column, found.span.length) == (4, 3, len('"hub:o/a@main"'))


def test_each_upgraded_source_is_asked_for_once_and_others_keep_theirs(folder):
    resolve = Resolver()
    lock = lock_for(manifest(), resolve=resolve)
    resolve.moved, resolve.asked = 1, []
    moved = update_lock(lock, [one for one in hub_uses(manifest()) if one.name in {"a", "again"}], resolve)
    assert resolve.asked == [("o/a", "main")]
    assert {name: one.commit for name, one in moved.sources.items()} == {
        "hub:o/a@main": commit("a", 1), "hub:o/b@v1": commit("b"),
    }  # fmt: skip
    assert [(one.name, one.written, one.key) for one in hub_uses(manifest())] == [
        ("a", "hub:o/a", "hub:o/a@main"), ("b", "hub:o/b@v1", "hub:o/b@v1"), ("again", "hub:o/a@main", "hub:o/a@main"),
    ]  # fmt: skip


def test_of_two_equal_faults_each_has_its_own_place(folder):
    text = json.dumps({"sources": {f"hub:o/{name}@main": {"commit": "main"} for name in "ab"}}, indent=1)
    (folder / "onnxbuild.lock").write_text(text)
    with pytest.raises(DiagnosticError) as raised:
        read_lock(folder / "onnxbuild.lock")
    assert [(one.span.line, one.span.column) for one in raised.value.diagnostics] == [(4, 14), (7, 14)]


def test_an_adapter_is_pinned_as_a_source_is(folder):
    model = "source: 'hub:o/a', task: fill-mask, targets: [fp32]"
    (folder / "m.yaml").write_text(
        f"onnxbuild: 1\ntargets: {{fp32: {{}}}}\nmodels:\n  a: {{{model}, adapter: 'hub:me/lora@v2'}}\n"
        f"  b: {{{model}, adapter: none}}\n"
    )
    asked = Resolver()
    lock = lock_for(manifest(), resolve=asked)
    assert asked.asked == [("o/a", "main"), ("me/lora", "v2")]
    assert lock.sources["hub:me/lora@v2"].commit == commit("a")
    assert [one.written for one in hub_uses(manifest())] == ["hub:o/a", "hub:me/lora@v2", "hub:o/a"]
